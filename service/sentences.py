"""Plain sentences about the model, for people who will not read a table. Knows no store."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Answer = Literal["no", "perhaps", "yes", "unknown"]
LEARNED = {
    "learned-demonstration": "shown answers",
    "learned-preference": "choices",
    "learned-task": "graded tasks",
    "learned-rating": "ratings",
}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _at(row: Mapping[str, Any]) -> str:
    low = f" ({row['ci_low']:.3f} to {row['ci_high']:.3f})" if row["ci_low"] is not None else ""
    return f"{row['suite']} at {row['retention']:.3f}{low}"


def forgotten(
    suites: Sequence[Mapping[str, Any]], version: int | None, measured: bool, back: int | None = None
) -> tuple[Answer, str]:
    """Is anything forgotten? Of each suite's newest result, and the version that is served. measured: there are suites,
    or nobody has looked for them yet. back: the newest version that went back to an earlier one."""
    rows = [row for row in suites if row["retention"] is not None]
    if not rows and not measured:
        return "unknown", "Nobody knows: no suite measures this model's abilities yet. Add one by edge-es probe add."
    if not rows:
        return "unknown", "Nobody knows yet: the first measurement has not ended."
    for verdict, answer, words in (
        ("dropped", "yes", "Yes, some of it: {}. It goes back to an earlier version by itself."),
        ("suspect", "perhaps", "Perhaps: {}. That may be chance; it is watched."),
    ):
        bad = [row for row in rows if row["verdict"] == verdict]
        if bad:
            worst = _listed([_at(row) for row in sorted(bad, key=lambda row: row["retention"])])
            if back is not None and all(row["version"] < back for row in bad):
                return "unknown", f"It had: {worst}. It went back since, and is measured again."
            return answer, words.format(worst)  # type: ignore[return-value]
    prior = [row for row in rows if not row["learned"]] or rows
    lowest = min(prior, key=lambda row: row["retention"])
    newest = max(row["version"] for row in rows)
    behind = (version or 0) - newest
    when = f" Measured at version {newest}, {_count(behind, 'version')} ago." if behind > 0 else ""
    kept = f"All {len(prior)} abilities that are measured are kept; the lowest is" if len(prior) > 1 else "It is kept:"
    return "no", f"No. {kept} {_at(lowest)}.{when}"


def learned(week: Mapping[str, int], around: Mapping[str, tuple[float, float]], waiting: int) -> str:
    """What it learned in a week. around: suite of held-out feedback -> score at the week's begin and now."""
    if not week["published"]:
        wait = f" {_count(waiting, 'lesson waits', 'lessons wait')} to be learned." if waiting else ""
        return f"Nothing was learned this week.{wait}"
    text = f"It took {_count(week['lessons'], 'lesson')} in {_count(week['published'], 'step')}."
    for suite, (before, now) in around.items():
        text += f" On {LEARNED.get(suite, suite)} that it never learned from it scores {now:.2f}, after {before:.2f}."
    if week["rollbacks"]:
        text += f" It went back {_count(week['rollbacks'], 'time')}."
    return text
