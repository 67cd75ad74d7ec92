"""Probe rounds by version: each suite's result and every item's score. A later round replaces the earlier."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from service.database import Database

if TYPE_CHECKING:
    from edge_es.probes.verdicts import SuiteResult

COLUMNS = (
    "version",
    "suite",
    "kind",
    "items",
    "score",
    "anchor",
    "retention",
    "ci_low",
    "ci_high",
    "verdict",
    "at",
)

BESIDE = "('loglik', 'acc')"  # kinds that stand beside what verdicts are given on


def _storable(value: Any) -> Any:
    """JSON has no NaN and no infinity: where a score is not finite, there is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


class ProbeTable(Database):
    """The part of the store that keeps probe results."""

    def save_probe(
        self,
        version: int,
        at: str,
        results: Sequence["SuiteResult"],
        item_scores: Mapping[str, Sequence[float]],
    ) -> None:
        """One round, all or nothing; it passed if no suite was dropped. `item_scores`: by suite, kept as fp32."""
        passed = all(result.verdict != "dropped" for result in results)
        marks = ", ".join("?" * len(COLUMNS))
        with self.transaction() as db:
            db.execute("DELETE FROM probe_rounds WHERE version = ?", (version,))
            db.execute("INSERT INTO probe_rounds VALUES (?, ?, ?)", (version, at, passed))
            for result in results:
                row = {**asdict(result), "version": version, "at": at}
                db.execute(
                    f"INSERT INTO probe_results ({', '.join(COLUMNS)}) VALUES ({marks})",
                    [_storable(row[column]) for column in COLUMNS],
                )
            for suite, scores in item_scores.items():
                db.execute("INSERT INTO probe_items VALUES (?, ?, ?)", (version, suite, array("f", scores).tobytes()))

    def item_scores(self, version: int, suite: str) -> list[float] | None:
        """A version's score of every item of a suite, or None if it was not probed."""
        row = self.query_one("SELECT scores FROM probe_items WHERE version = ? AND suite = ?", version, suite)
        return array("f", row["scores"]).tolist() if row else None

    def probed_suites(self, version: int) -> list[str]:
        """Suites whose items' scores are kept for a version, by name."""
        rows = self.query("SELECT suite FROM probe_items WHERE version = ? ORDER BY suite", version)
        return [row["suite"] for row in rows]

    def versions_probed_on(self, suite: str) -> list[int]:
        """Versions of which the suite's item scores are kept, oldest first."""
        rows = self.query("SELECT version FROM probe_items WHERE suite = ? ORDER BY version", suite)
        return [row["version"] for row in rows]

    def anchor_scores(self, suite: str) -> list[float] | None:
        """The anchor's score of every item of a suite."""
        return self.item_scores(0, suite)

    def probe_results(self, version: int | None = None) -> list[dict[str, Any]]:
        """Rows as `retention log` shows them, by version and then suite; of one version if it is given."""
        rows = self.query(
            f"""SELECT {", ".join(COLUMNS)} FROM probe_results
                WHERE ? IS NULL OR version = ? ORDER BY version, suite, kind""",
            version,
            version,
        )
        return [dict(row) for row in rows]

    def lowest_retention(self, first: int, last: int, width: int) -> list[dict[str, Any]]:
        """{suite, version, retention, ci_low, ci_high} of the versions first..last, by suite and version: of every
        `width` versions the round in which the suite did worst, so that no dip is thinned away, and the newest round.
        Only what verdicts are given on, not the likelihood beside it."""
        # SQLite takes the bare columns of a row from where min() was found.
        own = f"FROM probe_results WHERE version BETWEEN :first AND :last AND kind NOT IN {BESIDE}"
        rows = self.query(
            f"""SELECT suite, version, retention, ci_low, ci_high FROM (
                  SELECT suite, version, retention, ci_low, ci_high, min(retention)
                  {own} AND retention IS NOT NULL GROUP BY suite, version / :width
                  UNION SELECT suite, version, retention, ci_low, ci_high, retention
                  {own} AND version = (SELECT max(version) {own})
                ) ORDER BY suite, version""",
            first=first,
            last=last,
            width=width,
        )
        return [dict(row) for row in rows]

    def scores_around(self, since: str) -> dict[str, tuple[float, float]]:
        """suite made of held-out feedback -> its score at the newest round before `since` (or the first one), and at
        the newest round."""
        suites = self.query(
            f"SELECT DISTINCT suite FROM probe_results WHERE suite LIKE 'learned-%' AND kind NOT IN {BESIDE}"
        )
        found = {}
        for name in sorted(row["suite"] for row in suites):
            own = f"FROM probe_results WHERE suite = ? AND kind NOT IN {BESIDE} AND score IS NOT NULL"
            now = self.query_one(f"SELECT score {own} ORDER BY version DESC LIMIT 1", name)
            before = self.query_one(
                f"SELECT score {own} ORDER BY at < ? DESC, CASE WHEN at < ? THEN -version ELSE version END LIMIT 1",
                name,
                since,
                since,
            )
            if now and before:
                found[name] = (before["score"], now["score"])
        return found

    def newest_probed(self) -> int:
        """The newest version that a round was held on, were it without a single suite; 0 before the first."""
        return int(self.query("SELECT coalesce(max(version), 0) FROM probe_rounds")[0][0])

    def passed_versions(self) -> list[int]:
        """Versions whose latest round dropped no suite, oldest first."""
        return [row["version"] for row in self.query("SELECT version FROM probe_rounds WHERE passed ORDER BY version")]

    def newest_results(self) -> list[dict[str, Any]]:
        """Rows as `probe_results` has them, of the newest version that each suite was probed at."""
        rows = self.query(
            f"""WITH RECURSIVE suites (suite) AS (
                  SELECT min(suite) FROM probe_results
                  UNION ALL SELECT (SELECT min(suite) FROM probe_results WHERE suite > suites.suite)
                  FROM suites WHERE suite IS NOT NULL)
                SELECT {", ".join(f"probe_results.{column}" for column in COLUMNS)} FROM suites JOIN probe_results
                ON probe_results.suite = suites.suite AND version = (
                  SELECT max(version) FROM probe_results WHERE suite = suites.suite)
                ORDER BY 2, 3"""
        )
        return [dict(row) for row in rows]
