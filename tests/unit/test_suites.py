"""Suites: what a file may hold, errors that name file and line, and suites of held-out feedback."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_es.errors import InputError
from edge_es.feedback import Event, Exchange, Message, Prompt
from edge_es.probes.suites import MIN_LEARNED, Item, learned_suites, load_suite


def write(folder: Path, *rows: Any, name: str = "mine.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add 1 and 2."}]
GRADER = {"type": "numeric", "reference": 3}


@pytest.mark.parametrize(
    ("row", "kind", "item"),
    [
        ({"prompt": "a", "answer": "b"}, "generation", Item(Prompt.user("a"), "b")),
        ({"prompt": "a", "raw": True, "answer": "b"}, "generation", Item(Prompt(text="a"), "b")),
        (
            {"messages": CHAT, "answer": "3", "id": "x"},
            "generation",
            Item(Prompt((Message("system", "Be brief."), Message("user", "Add 1 and 2."))), "3"),
        ),
        (
            {"prompt": "a", "grader": GRADER, "max_tokens": 9},
            "generation",
            Item(Prompt.user("a"), grader=GRADER, max_tokens=9),
        ),
        ({"prompt": "a", "answer": "3", "grader": GRADER}, "generation", Item(Prompt.user("a"), "3", grader=GRADER)),
        (
            {"prompt": "a", "choices": ["x", "y"], "label": 1},
            "choice",
            Item(Prompt.user("a"), ended=False, choices=("x", "y"), label=1),
        ),
        ({"text": "Once."}, "perplexity", Item(None, "Once.", ended=False)),
        ({"kind": "perplexity", "prompt": "a", "answer": "b"}, "perplexity", Item(Prompt.user("a"), "b")),
        ({"kind": "kl", "prompt": "a"}, "kl", Item(Prompt.user("a"))),
        ({"kind": "kl", "prompt": "a", "answer": "b"}, "kl", Item(Prompt.user("a"), "b")),
    ],
)
def test_items(tmp_path: Path, row: dict[str, Any], kind: str, item: Item) -> None:
    suite = load_suite(write(tmp_path, row, name="my-suite_1.jsonl"))
    assert (suite.name, suite.kind, suite.items) == ("my-suite_1", kind, (item,))
    assert not suite.learned


def test_empty_lines_and_windows_line_ends_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\r\n{"prompt": "a", "answer": "b"}\r\n\n{"prompt": "b", "answer": "b"}')
    assert len(load_suite(path).items) == 2


GOOD = {"prompt": "a", "answer": "b"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "JSON object"),
        ('{"prompt": "x", "answer": NaN}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ({"prompt": "x"}, '"answer"'),
        ({"answer": "x"}, "`prompt` or `messages`"),
        ({"prompt": "x", "messages": CHAT, "answer": "y"}, "either"),
        ({"prompt": "", "answer": "y"}, "`prompt`"),
        ({"prompt": "x", "answer": 3}, "`answer`"),
        ({"prompt": "x", "answer": "y", "tag": "z"}, "'tag'"),
        ({"prompt": "x", "answer": "y", "raw": 1}, "`raw`"),
        ({"messages": CHAT, "raw": True, "answer": "y"}, "`raw`"),
        ({"messages": [], "answer": "y"}, "`messages`"),
        ({"messages": [{"role": "user"}], "answer": "y"}, "`role` and `content`"),
        ({"messages": [{"role": "robot", "content": "x"}], "answer": "y"}, "role is one of"),
        ({"messages": "x", "answer": "y"}, "`messages`"),
        ({"prompt": "x", "grader": {"type": "python"}}, "grader type"),
        ({"prompt": "x", "grader": None}, "grader"),
        ({"prompt": "x", "grader": GRADER, "max_tokens": 0}, "`max_tokens`"),
        ({"prompt": "x", "choices": ["a", "b"], "label": 0}, "split the file"),
        ({"prompt": "x", "kind": "magic"}, "`kind`"),
        (GOOD, "repeats line 1"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(tmp_path: Path, row: Any, message: str) -> None:
    path = write(tmp_path, GOOD, "", row)
    with pytest.raises(InputError) as caught:
        load_suite(path)
    text = str(caught.value)
    assert text.startswith(f"probe file {path}, line 3: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x", "choices": ["a"], "label": 0}, "two or more"),
        ({"prompt": "x", "choices": ["a", ""], "label": 0}, "not empty"),
        ({"prompt": "x", "choices": ["a", "a"], "label": 0}, "differ"),
        ({"prompt": "x", "choices": ["a", "b"], "label": 2}, "0 to 1"),
        ({"prompt": "x", "choices": ["a", "b"], "label": True}, "`label`"),
        ({"prompt": "x", "choices": ["a", "b"]}, "`label`"),
        ({"text": "x", "answer": "y"}, "scored alone"),
        ({"text": ""}, "`text`"),
        ({"kind": "kl", "prompt": "x", "answer": ""}, "`answer`"),
    ],
)
def test_bad_items_of_other_kinds(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_suite(write(tmp_path, row))


def test_files_that_are_missing_empty_or_binary_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.jsonl does not exist"):
        load_suite(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="no items"):
        load_suite(write(tmp_path, ""))
    (tmp_path / "bin.jsonl").write_bytes(json.dumps(GOOD).encode() + b"\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"bin\.jsonl, line 2: it is not UTF-8"):
        load_suite(tmp_path / "bin.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        load_suite(tmp_path / "folder.jsonl")


@pytest.mark.parametrize("name", ["learned-task.jsonl", ".jsonl", "a b.jsonl", "é.jsonl", f"{'x' * 101}.jsonl"])
def test_names_that_cannot_name_a_suite_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="names the suite"):
        load_suite(write(tmp_path, GOOD, name=name))


@given(content=st.binary(max_size=200))
def test_any_bytes_load_or_are_refused_in_one_line(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    try:
        suite = load_suite(path)
    except InputError as error:
        message = str(error)
    else:
        message = suite.name
    assert message and "\n" not in message


def test_a_digest_tells_an_edited_file(tmp_path: Path) -> None:
    one = load_suite(write(tmp_path, GOOD))
    assert one.digest == load_suite(write(tmp_path, "", GOOD)).digest
    assert one.digest != load_suite(write(tmp_path, {**GOOD, "answer": "c"})).digest
    assert one.digest != load_suite(write(tmp_path, {**GOOD, "raw": True})).digest


def test_no_torch_is_imported() -> None:
    """The CLI lists suites with the daemon stopped, in a fraction of a second."""
    code = "import edge_es.probes.suites, edge_es.probes.verdicts, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- held-out feedback


def event(n: int, kind: Any, *answers: str, **rest: Any) -> Event:
    prompt = Prompt.user(f"q{n}")
    return Event(f"{kind}{n}", kind, tuple(Exchange(prompt, answer) for answer in answers), **rest)


def some(n: int) -> list[Event]:
    return [
        e
        for i in range(n)
        for e in (
            event(i, "demonstration", "right"),
            event(i, "preference", "good", "bad"),
            event(i, "task", "", grader=GRADER),
            event(i, "rating", "served", metric="thumbs", value=1.0 if i % 2 else -1.0),
            event(i, "comment", "served", comment="hm"),
        )
    ]


def test_held_out_events_become_suites_by_kind() -> None:
    suites = {suite.name: suite for suite in learned_suites(some(MIN_LEARNED))}
    assert list(suites) == ["learned-demonstration", "learned-preference", "learned-task", "learned-rating"]
    assert all(suite.learned and len(suite.items) == MIN_LEARNED for suite in suites.values())
    assert suites["learned-demonstration"].items[3] == Item(Prompt.user("q3"), "right")
    assert suites["learned-preference"].items[3] == Item(Prompt.user("q3"), choices=("good", "bad"), label=0)
    assert suites["learned-task"].items[3] == Item(Prompt.user("q3"), grader=GRADER)
    assert suites["learned-rating"].items[2:4] == (
        Item(Prompt.user("q2"), "served", value=-1.0),
        Item(Prompt.user("q3"), "served", value=1.0),
    )


def test_a_suite_of_few_items_is_left_out() -> None:
    assert learned_suites(some(MIN_LEARNED - 1)) == []
    assert learned_suites([]) == []


@given(n=st.integers(0, 40), more=st.integers(0, 20), seed=st.randoms(use_true_random=False))
def test_later_events_only_append(n: int, more: int, seed: Any) -> None:
    """The order of items is their identity: scores of earlier rounds must still pair."""
    events = some(12)
    for i in range(10):
        events.append(event(100 + i, "rating", "served", metric=f"m{i % 3}", value=seed.choice([-1.0, 0.0, 0.5])))
    seed.shuffle(events)
    before = {suite.name: suite for suite in learned_suites(events[:n])}
    after = {suite.name: suite for suite in learned_suites(events[: n + more])}
    for name, suite in before.items():
        assert after[name].items[: len(suite.items)] == suite.items


def test_ratings_without_a_sign_to_follow_are_left_out() -> None:
    high = [event(i, "rating", "served", metric="score", value=0.5 + i / 100) for i in range(20)]
    neutral = [event(i, "rating", "served", metric="thumbs", value=0.0) for i in range(20)]
    episodes = [event(i, "rating", "one", "two", metric="thumbs", value=(-1.0) ** i) for i in range(20)]
    assert learned_suites([*high, *neutral, *episodes]) == []
