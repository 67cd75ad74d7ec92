"""The study on real text: a model that tells stories, read from the user's own files, taught by preference."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from edge_es.config import ModelSection
from edge_es.errors import InputError
from edge_es.fitness import text_of
from edge_es.model import Base, load_base
from edge_es.spaces.delta import Delta
from edge_es.study.arms import arm, learner
from edge_es.study.cell import Cell, run_cell
from edge_es.study.material import Material
from edge_es.study.measure import anchor_of, checkpoint
from edge_es.study.stories import TAUGHT, choices, preferred, read
from edge_es.study.subject import Subject
from edge_es.study.suites import Preferred, retention
from edge_es.study.tasks import material

DATA = Path(__file__).parents[3] / "shared" / "data"
MODEL, FILE = DATA / "stories260K-hf", DATA / "tinystories_1000.json"
needs_data = pytest.mark.skipif(not MODEL.is_dir(), reason="the model's folder is not here")
SUBJECT = Subject(str(MODEL), FILE)

TALE = "Tom had a red hat. He wore it all day! Then the wind came. It blew hard. The hat flew off. Tom ran."


def told(number: int) -> str:
    return TALE.replace("Tom", f"Tom{number}").replace("red", f"red{number}")


@pytest.fixture(scope="module", params=["nf4", "none"])
def base(request: pytest.FixtureRequest) -> Base:
    return load_base(ModelSection(ref=str(MODEL), quantization=request.param, device="cpu"))


@pytest.fixture(scope="module")
def it(base: Base) -> Material:
    return small(material(base, "stories", 0, items=8, events=16, subject=SUBJECT))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last look reads all that is held out."""
    for name, count in (("HELD_OUT", 12), ("TOLD", 4), ("TESTED", 12)):
        monkeypatch.setattr(f"edge_es.study.stories.{name}", count)


def small(it: Material) -> Material:
    assert isinstance(it.task, Preferred)
    few = replace(it.task, chosen=it.task.chosen[:24], rejected=it.task.rejected[:24])
    return replace(it, task=few, near_task=it.near_task[:4], near_prior=it.near_prior[:4])


@pytest.mark.parametrize(
    "whole",
    [
        "\n".join(told(n) for n in range(3)),
        "\n".join(json.dumps({"text": told(n)}) for n in range(3)) + "\n\n",
        "\n".join(json.dumps(told(n)) for n in range(3)),
        json.dumps([told(n) for n in range(3)]),
        json.dumps([{"story": told(n)} for n in (0, 1, 2, 2)]),
    ],
    ids=["text", "objects", "strings", "list", "a repeat"],
)
def test_stories_are_read_from_the_usual_forms(whole: str, tmp_path: Path) -> None:
    path = tmp_path / "stories.txt"
    path.write_text(whole, encoding="utf-8")
    found = read(path)
    assert [one.text for one in found] == [told(n) for n in range(3)]
    assert found[0].opening == "Tom0 had a red0 hat." and found[0].continuation == "He wore it all day!"


def test_what_is_no_story_is_passed_over_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "stories.jsonl"
    path.write_text(f"One sentence only, that ends.\n{TALE}\nNo. Too short.\n", encoding="utf-8")
    assert [one.text for one in read(path)] == [TALE]
    path.write_text('{"tale": "a"}\n', encoding="utf-8")
    with pytest.raises(InputError, match='an object with a "text"'):
        read(path)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none")


def test_the_right_choice_is_the_storys_own() -> None:
    among = [one for n in range(6) for one in [_read_one(told(n).replace("It blew", f"It{n} blew"))]]
    items = choices(among)
    assert len(items) == 6 and len({item.label for item in items}) > 1
    for number, item in enumerate(items):
        assert len(item.choices) == 4 == len(set(item.choices))
        assert item.prompt is not None and item.prompt.text is not None
        assert f"{item.prompt.text} {item.choices[item.label]}" == among[number].text


def _read_one(text: str):  # type: ignore[no-untyped-def]
    from edge_es.study.stories import _story

    found = _story(text)
    assert found is not None
    return found


@needs_data
def test_answers_have_the_tokens_that_they_have_in_the_whole(base: Base) -> None:
    one = read(FILE)[0]
    text = text_of(base, preferred(base, one))
    assert (*text.prompt, *text.answer) == tuple(base.tokenizer(f"{one.opening} {TAUGHT}").input_ids)


@needs_data
def test_what_is_tested_is_not_learned_from_or_kept(base: Base, it: Material) -> None:
    whole = material(base, "stories", 0, subject=SUBJECT)
    assert len(whole.events) == 512 and {event.kind for event in whole.events} == {"preference"}
    learned = {event.exchanges[0].prompt.text for event in whole.events}
    stories = read(FILE)
    held_out = {one.opening for one in stories[:456]}
    both = {one.opening for one in stories[456:]} & held_out  # some stories begin alike
    assert len(learned & held_out) <= len(both) < 60
    assert not {one.text for one in stories[:256]} & {one.text for one in stories[456:]}
    assert set(whole.priors) == {"telling", "going-on"}
    told_of = {tuple(text.answer) for text in whole.priors["telling"].texts}
    assert not told_of & {tuple(text.answer) for text in whole.protected}
    assert whole.near_prior and max(len(text.answer) for text in whole.near_prior) <= 32


@needs_data
@pytest.mark.parametrize("name", ["defaults", "es-full", "es-adapter+kl"])
def test_an_arm_learns_by_preference_and_is_measured(name: str, base: Base, it: Material) -> None:
    of = arm(name)
    if of.quantization != base.quantization:
        pytest.skip("the other base is this arm's")
    over = {"population": 6, "batch": 4, "sigma": 0.01, "alpha": 0.02}
    edge = {"search": {"population": 8}, "learn": {"batch": 4, "groups": 2}, "gates": {"min_reliability": -1.0}}
    at = learner(of, base, it, 0, over if name == "es-full" else edge)
    anchor = anchor_of(base, it)
    before = checkpoint(at, it, anchor, 0, 0.0)
    assert before.gain == 0 and before.retention == {"telling": 1.0, "going-on": 1.0} and before.kl_new < 1e-6
    assert before.new_nats == pytest.approx(2.0, abs=0.2), "published for this sentence: 2.026 nats a token"
    assert 1.2 < anchor.priors["telling"] < 2.1
    at.step()
    at.step()
    after = checkpoint(at, it, anchor, 2, 0.0)
    assert after.evaluations > 0 and after.norm > 0 and math.isfinite(after.retention_min)
    assert after.retention["telling"] != 1.0 and after.new_nats != before.new_nats


@needs_data
def test_perplexity_is_turned_round(base: Base, it: Material) -> None:
    telling = it.priors["telling"]
    assert telling.lower_is_better and not it.priors["going-on"].lower_is_better
    assert retention(telling, 2.0, 1.0) == 0.5 and retention(it.priors["going-on"], 0.5, 1.0) == 0.5


@needs_data
def test_preference_is_by_likelihood_a_token(base: Base, it: Material) -> None:
    assert isinstance(it.task, Preferred)
    turned = Preferred(it.task.rejected, it.task.chosen)
    one, other = it.task.measure(base, Delta()), turned.measure(base, Delta())
    assert one.score + other.score == pytest.approx(1.0)
    assert one.nats is not None and other.nats is not None and one.nats > other.nats


@needs_data
def test_a_cell_says_which_files_it_used_and_not_where_they_lie(tmp_path: Path, few: None) -> None:
    cell = Cell("es-full", "stories", 0, 8, 1, 2, 8, None, {"population": 4, "batch": 2}, SUBJECT)
    record = run_cell(cell, tmp_path)
    assert record["cell"]["model"] == "stories260K-hf"
    assert record["cell"]["stories"].startswith("tinystories_1000.json@")
    assert str(DATA) not in json.dumps(record)
    assert set(record["final"]["retention"]) == {"telling", "going-on"} and record["final"]["new_nats"] > 0


@needs_data
def test_what_cannot_be_learned_is_refused(base: Base, it: Material) -> None:
    for name in ("sft", "grpo"):
        if base.quantization == "none":
            with pytest.raises(InputError, match=r"learns from demonstrations|answers that can be graded"):
                learner(arm(name), base, it, 0, {})
    with pytest.raises(InputError, match="the embedded model's own"):
        material(base, "alias", 0, subject=SUBJECT)
    with pytest.raises(InputError, match=r"--stories"):
        material(base, "stories", 0, subject=Subject(str(MODEL)))


@needs_data
def test_too_few_stories_are_refused(base: Base, tmp_path: Path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("\n".join(told(n) for n in range(20)), encoding="utf-8")
    with pytest.raises(InputError, match=r"20 stories that differ .* more than 456"):
        material(base, "stories", 0, subject=Subject(str(MODEL), path))
