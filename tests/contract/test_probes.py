"""Every kind of probe through one body: finite scores in the suite's order, paired with the anchor's, on a real model.

The items' answers are the anchor's own, so that it scores 1 on them however well it was trained.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge_es.answers import Row, Sampling
from edge_es.config import ModelSection
from edge_es.decode import generate
from edge_es.errors import InputError
from edge_es.feedback import Event, Exchange, Prompt
from edge_es.fitness import text_of
from edge_es.graders import grade
from edge_es.likelihood import Text
from edge_es.memory import OPEN
from edge_es.model import Base, base_hash, encode_answer, encode_prompt, load_base
from edge_es.pocket import MODEL_DIR, PROBES_DIR
from edge_es.probes.scoring import WORST, encode, score_suite
from edge_es.probes.statistics import retention
from edge_es.probes.suites import Item, Suite, learned_suites, load_suite
from edge_es.probes.verdicts import judge
from edge_es.slices import run
from edge_es.spaces.adapter import InputSide
from edge_es.spaces.delta import Delta, Part

N = 48
KINDS = ["generation", "graded", "choice", "raw-choice", "perplexity", "answer-perplexity", "kl", "answer-kl", "rating"]


@pytest.fixture(scope="module")
def base() -> Base:
    if not (MODEL_DIR / "model.safetensors").exists():
        pytest.skip("the embedded model is not there")
    return load_base(ModelSection(device="cpu"))


@pytest.fixture(scope="module")
def harm(base: Base) -> Delta:
    """A random delta that is large enough to break abilities."""
    generator = torch.Generator().manual_seed(0)
    a = {}
    for name in base.layers:
        inputs = base.model.get_submodule(name).in_features
        a[name] = torch.linalg.qr(torch.randn(inputs, 2, generator=generator))[0].T.contiguous()
    side = InputSide(a, base.outs(base.layers))
    return Delta((Part(side, 0.5 * torch.randn(side.size, generator=generator)),))


@pytest.fixture(scope="module")
def own(base: Base) -> tuple[Item, ...]:
    """Prompts of the embedded probes with the anchor's greedy answers."""
    asked = [i.prompt for name in ("add", "reverse") for i in load_suite(PROBES_DIR / f"{name}.jsonl").items[:N]]
    made = run(generate(base, [Row(encode_prompt(base, p), Delta(), Sampling(max_tokens=24)) for p in asked]))
    items = [Item(p, m.text, m.finish == "stop") for p, m in zip(asked, made, strict=True) if m.text]
    tokens = {m.text: tuple(m.tokens) for m in made}
    items = [i for i in items if tokens[i.answer or ""] == encode_answer(base, i.answer or "", i.ended)]
    assert len(items) >= N
    return tuple(items[:N])


def suite_of(kind: str, items: tuple[Item, ...]) -> Suite:
    """N items of a kind."""
    if kind == "generation":
        return Suite(kind, "generation", items)
    if kind == "graded":
        made = [
            Item(i.prompt, grader={"type": "string_check", "operation": "eq", "reference": i.answer}) for i in items
        ]
        return Suite(kind, "generation", tuple(made))
    if kind in ("choice", "raw-choice"):
        made = [Item(_prompt(i, kind), ended=False, choices=(f"{i.answer}", "The cat sat."), label=0) for i in items]
        return Suite(kind, "choice", tuple(made))
    if kind == "perplexity":
        return Suite(kind, "perplexity", tuple(Item(None, f"{_words(i)} {i.answer}", ended=False) for i in items))
    if kind == "answer-perplexity":
        return Suite(kind, "perplexity", items)
    if kind == "kl":
        return Suite(kind, "kl", tuple(Item(i.prompt) for i in items))
    if kind == "answer-kl":
        return Suite(kind, "kl", items)
    rated = [Item(i.prompt, i.answer, i.ended, value=1.0 if n % 2 else -1.0) for n, i in enumerate(items)]
    return Suite("learned-rating", "rating", tuple(rated))


def _is(answer: str | None) -> dict[str, str | None]:
    return {"type": "string_check", "operation": "eq", "reference": answer}


def _words(item: Item) -> str:
    assert item.prompt is not None
    return item.prompt.messages[0].content


def _prompt(item: Item, kind: str) -> Prompt:
    return Prompt(text=_words(item)) if kind == "raw-choice" else Prompt.user(_words(item))


@pytest.mark.parametrize("kind", KINDS)
def test_contract(base: Base, harm: Delta, kind: str, own: tuple[Item, ...]) -> None:
    probe = suite_of(kind, own)
    anchor, broken = run(score_suite(base, Delta(), probe)), run(score_suite(base, harm, probe))
    assert anchor.kind == probe.kind
    for scores in (anchor, broken):
        for values in scores.by_key(probe.name).values():
            assert len(values) == N
            assert all(math.isfinite(value) for value in values)
            assert torch.tensor(values).tolist() == values  # stored as 32-bit floats without loss
        if not scores.lower_is_better:
            assert all(0 <= value <= 1 for values in scores.by_key("x").values() for value in values)
    assert run(score_suite(base, Delta(), encode(base, probe))) == anchor  # pure, encoded before or not
    kept = judge(0, probe.name, anchor, {}, "")
    assert all(row.verdict == "kept" for row in kept)
    after = judge(1, probe.name, broken, anchor.by_key(probe.name), "")
    assert [row.kind for row in after] == [row.kind for row in kept]
    assert base_hash(base) == base.sha256


@pytest.mark.parametrize("kind", ["generation", "graded", "answer-perplexity"])
def test_a_broken_version_is_dropped(base: Base, harm: Delta, kind: str, own: tuple[Item, ...]) -> None:
    probe = suite_of(kind, own)
    anchor, broken = run(score_suite(base, Delta(), probe)), run(score_suite(base, harm, probe))
    assert judge(1, probe.name, broken, anchor.by_key(probe.name), "")[0].verdict == "dropped"


@pytest.mark.parametrize("kind", KINDS)
def test_scoring_yields_so_that_requests_go_in_between(base: Base, kind: str, own: tuple[Item, ...]) -> None:
    slices: Iterator[None] = score_suite(base, Delta(), suite_of(kind, own), room=replace(OPEN, slice_tokens=256))
    assert sum(1 for _ in slices) > 3


@pytest.mark.parametrize("version", ["anchor", "harm"])
def test_teacher_forcing_decides_as_greedy_decoding_does(
    base: Base, harm: Delta, version: str, own: tuple[Item, ...]
) -> None:
    delta = Delta() if version == "anchor" else Delta((Part(harm.parts[0].basis, 0.3 * harm.parts[0].b),))
    probe = suite_of("generation", own)
    forced = run(score_suite(base, delta, probe)).primary
    rows = [Row(encode_prompt(base, i.prompt), delta, Sampling(max_tokens=24)) for i in probe.items]
    made = run(generate(base, rows))
    exact = [float(tuple(m.tokens) == encode_answer(base, i.answer)) for m, i in zip(made, probe.items, strict=True)]
    assert forced == exact
    assert version == "harm" or forced == [1.0] * N
    assert version == "anchor" or 0 < sum(forced) < N


def test_graded_items_equal_exact_match_where_the_grader_asks_for_it(base: Base, own: tuple[Item, ...]) -> None:
    assert run(score_suite(base, Delta(), suite_of("graded", own))).primary == (
        run(score_suite(base, Delta(), suite_of("generation", own))).primary
    )


def test_choice_scores_against_likelihoods_computed_one_by_one(base: Base, harm: Delta) -> None:
    probe = load_suite(PROBES_DIR / "sentences_choice.jsonl")
    # One choice twice as long as the other, so that likelihood alone and likelihood a character disagree.
    longer = [
        Item(i.prompt, ended=False, choices=(i.choices[0], f"{i.choices[1]} {i.choices[1]}"), label=i.label)
        for i in probe.items[:24]
    ]
    probe = Suite(probe.name, probe.kind, tuple(longer))
    scores = run(score_suite(base, harm, probe))
    for i, item in enumerate(probe.items):
        total = []
        for choice in item.choices:
            text = Text(encode_prompt(base, item.prompt), encode_answer(base, choice, ended=False))
            total.append(_likelihood(base, harm, text))
        by_character = [t / len(c) for t, c in zip(total, item.choices, strict=True)]
        assert scores.primary[i] == float(by_character[item.label] == max(by_character))
        assert scores.beside["acc"][i] == float(total[item.label] == max(total))
        share = math.exp(total[item.label]) / sum(math.exp(t) for t in total)
        assert scores.beside["loglik"][i] == pytest.approx(share, abs=1e-3)
    assert scores.primary != scores.beside["acc"]


def _likelihood(base: Base, delta: Delta, text: Text) -> float:
    """Without batches, padding or sliced logits."""
    from edge_es.sidechannel import MixedRows

    ids = torch.tensor([text.prompt + text.answer])
    with torch.inference_mode(), base.channel.using(MixedRows([delta], base.device)):
        logits = base.model(input_ids=ids).logits[0].float().log_softmax(-1)
    first = len(text.prompt)
    return sum(float(logits[at - 1, ids[0, at]]) for at in range(first, ids.shape[1]))


def test_perplexity_counts_every_token_but_the_first_once(base: Base) -> None:
    text = "The old boy holds a boat. " * 60
    ids = base.tokenizer(text).input_ids
    assert len(ids) > 2 * base.context
    encoded = encode(base, Suite("s", "perplexity", (Item(None, text, ended=False),)))
    assert [token for some in encoded.texts for token in some.answer] == ids[1:]
    assert all(len(some) <= base.context for some in encoded.texts)
    nats = run(score_suite(base, Delta(), encoded)).primary[0]
    totals = [_likelihood(base, Delta(), some) for some in encoded.texts]
    assert nats == pytest.approx(-sum(totals) / (len(ids) - 1), rel=1e-4)


def test_kl_is_nothing_at_the_anchor_and_something_elsewhere(base: Base, harm: Delta, own: tuple[Item, ...]) -> None:
    for kind in ("kl", "answer-kl"):
        assert max(map(abs, run(score_suite(base, Delta(), suite_of(kind, own))).primary)) < 1e-6
        assert min(run(score_suite(base, harm, suite_of(kind, own))).primary) > 1e-4


def test_a_version_that_breaks_the_arithmetic_scores_worst_not_nothing(
    base: Base, harm: Delta, own: tuple[Item, ...]
) -> None:
    broken = Delta((Part(harm.parts[0].basis, torch.full_like(harm.parts[0].b, float("nan"))),))
    for kind in ("generation", "choice", "perplexity", "kl", "rating"):
        scores = run(score_suite(base, broken, suite_of(kind, own)))
        worst = WORST if scores.lower_is_better else 0.0
        assert set(scores.primary) == {worst}
        assert all(math.isfinite(v) for values in scores.by_key("x").values() for v in values)


def test_ratings_ask_where_the_likelihood_moved(base: Base, harm: Delta, own: tuple[Item, ...]) -> None:
    probe = suite_of("rating", own)
    assert run(score_suite(base, Delta(), probe)).primary == [0.0] * N  # nothing has moved yet
    moved = run(score_suite(base, harm, probe)).primary  # the anchor's own answers became less likely, most of them
    assert sum(moved[0::2]) > 0.75 * N / 2 > 0.25 * N / 2 > sum(moved[1::2])


def test_items_that_do_not_fit_are_named_or_left_out(base: Base, own: tuple[Item, ...]) -> None:
    short, long = suite_of("generation", own).items[0], Item(Prompt.user("x" * 10_000), "y")
    with pytest.raises(InputError, match="probe suite mine, item 2"):
        encode(base, Suite("mine", "generation", (short, long)))
    learned = encode(base, Suite("learned-task", "generation", (long, short)))
    assert learned.suite.items == (short,)
    assert len(learned.spans) == 1


def test_learned_suites_are_scored(base: Base, own: tuple[Item, ...]) -> None:
    events = [
        Event(f"{k}{n}", kind, tuple(Exchange(item.prompt, a, item.ended) for a in answers), grader=grader)
        for n, item in enumerate(own[:8])
        for k, kind, answers, grader in (
            ("d", "demonstration", [item.answer], None),
            ("p", "preference", [item.answer, "ȿȿ"], None),
            ("t", "task", [""], {"type": "string_check", "operation": "like", "reference": item.answer}),
        )
    ]
    suites = learned_suites(events)
    assert [probe.name for probe in suites] == ["learned-demonstration", "learned-preference", "learned-task"]
    for probe in suites:
        assert run(score_suite(base, Delta(), probe)).primary == [1.0] * 8, probe.name


@pytest.mark.parametrize("path", sorted(PROBES_DIR.glob("*.jsonl")), ids=lambda path: path.stem)
def test_the_embedded_probes_load_and_fit(base: Base, path: Path) -> None:
    probe = load_suite(path)
    assert len(probe.items) >= 400
    assert len(encode(base, probe).spans) == len(probe.items)


def test_raw_choice_is_encoded_as_a_whole(tmp_path: Path, base: Base) -> None:
    row = {"prompt": "The boy sees", "raw": True, "choices": ["a boat.", "an owl"], "label": 0}
    (tmp_path / "c.jsonl").write_text(json.dumps(row))
    encoded = encode(base, load_suite(tmp_path / "c.jsonl"))
    whole = base.tokenizer("The boy sees a boat.").input_ids
    assert list(encoded.texts[0].prompt + encoded.texts[0].answer) == whole
    assert len(encoded.texts[0].prompt) == len(base.tokenizer("The boy sees").input_ids)


def test_held_out_feedback_is_probed_as_the_text_and_the_length_that_are_trained(base: Base) -> None:
    said = (Exchange(Prompt(text="The boy sees "), "a boat."), Exchange(Prompt(text="The boy sees "), "an owl"))
    grader = {"type": "string_check", "operation": "eq", "reference": "4"}
    events = [
        *(Event(f"p{n}", "preference", said) for n in range(8)),
        *(Event(f"t{n}", "task", (Exchange(Prompt(text="2 + 2 = "), ""),), grader=grader) for n in range(8)),
    ]
    preference, task = learned_suites(events, 5)
    assert encode(base, preference).texts[:2] == tuple(text_of(base, exchange) for exchange in said)
    assert {item.max_tokens for item in task.items} == {5}


def test_grades_between_0_and_1_are_means_of_retention(base: Base, harm: Delta, own: tuple[Item, ...]) -> None:
    items = suite_of("generation", own).items
    grader = {"type": "text_similarity", "evaluation_metric": "fuzzy_match"}
    probe = Suite("s", "generation", tuple(Item(i.prompt, grader={**grader, "reference": i.answer}) for i in items))
    half = Delta((Part(harm.parts[0].basis, 0.4 * harm.parts[0].b),))
    now = torch.tensor(run(score_suite(base, half, probe)).primary, dtype=torch.float64).numpy()
    assert grade(probe.items[0].grader or {}, items[0].answer or "") == 1.0
    assert 0 < now.mean() < 1
    assert set(now) - {0.0, 1.0}
    assert retention(now, now).value == 1.0


DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.skipif(not (DATA / "stories260K-hf").exists(), reason="the shared test data are not here")
def test_perplexity_and_choice_of_a_third_party_model_without_chat_template(tmp_path: Path) -> None:
    stories = json.loads((DATA / "tinystories_1000.json").read_text())[:24]
    (tmp_path / "stories.jsonl").write_text("\n".join(json.dumps({"text": story}) for story in stories))
    rows = [json.loads(line) for line in (DATA / "hellaswag_1k.jsonl").read_text().splitlines()[:8]]
    (tmp_path / "hellaswag.jsonl").write_text(
        "\n".join(
            json.dumps({"prompt": r["ctx"], "raw": True, "choices": r["endings"], "label": r["label"]}) for r in rows
        )
    )
    third = load_base(ModelSection(ref=str(DATA / "stories260K-hf"), quantization="none", device="cpu"))
    nats = run(score_suite(third, Delta(), load_suite(tmp_path / "stories.jsonl"))).primary
    for story, mine in zip(stories, nats, strict=True):
        ids = third.tokenizer(story, return_tensors="pt").input_ids
        if ids.shape[1] <= third.context:
            with torch.inference_mode():
                assert mine == pytest.approx(float(third.model(input_ids=ids, labels=ids).loss), rel=1e-4)
    choice = run(score_suite(third, Delta(), load_suite(tmp_path / "hellaswag.jsonl")))
    assert set(choice.primary) <= {0.0, 1.0}
