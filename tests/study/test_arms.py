"""Every arm through one suite: it learns, counts what it spends, moves what it says, and leaves a quantized base be."""

import math

import pytest
import torch

from edge_es.config import ModelSection
from edge_es.errors import InputError
from edge_es.focus import SCOUTS
from edge_es.likelihood import collate, score_batch
from edge_es.model import base_hash, encode_prompt, load_base
from edge_es.spaces.delta import Delta
from edge_es.study import plan
from edge_es.study.arms import ARMS, arm, configuration, learner
from edge_es.study.change import measured
from edge_es.study.gradient import advantages_of, loss_of, token_scores
from edge_es.study.learning import Learner
from edge_es.study.live import Live, User
from edge_es.study.material import Material
from edge_es.study.paper import PaperES
from edge_es.study.suites import Exact, exact
from edge_es.study.tasks import material

SMALL = {  # so that every arm is quick, and each sees some of it
    "es-full": {"population": 6, "batch": 4, "sigma": 0.01, "alpha": 0.02},
    "sft": {"batch": 8, "rate": 1e-3},
    "grpo": {"batch": 8, "group": 8, "rate": 1e-3},
}
EDGE = {
    "search": {"population": 8, "alpha": 0.05},
    "learn": {"batch": 4, "groups": 2},
    "gates": {"min_reliability": -1.0},
}


@pytest.fixture(scope="module", params=sorted(ARMS))
def at(request: pytest.FixtureRequest) -> Learner:
    of = arm(request.param)
    base = load_base(ModelSection(ref="pocket", quantization=of.quantization, device="cpu"))  # type: ignore[arg-type]
    task = plan.tasks_of(of.name)[0]
    return learner(of, base, material(base, task, 0, items=8), 0, SMALL.get(of.name, EDGE))


def test_it_learns_and_says_what_it_took(at: Learner) -> None:
    before = base_hash(at.base)
    assert measured(at.moved()).norm == 0.0 and at.evaluations == 0 and at.walk == 0.0
    at.step()
    once = at.evaluations
    at.step()
    assert 0 < once < at.evaluations
    change = measured(at.moved())
    assert change.norm > 0 and all(math.isfinite(x) for x in (change.norm, change.relative, at.walk))
    assert change.norm <= 2 * math.sqrt(at.walk) + 1e-6
    assert (base_hash(at.base) == before) == (at.base.quantization != "none")


def test_the_change_is_what_answers_differ_by(at: Learner) -> None:
    """The weights before plus the change, in place, answer as the arm does."""
    if at.base.quantization == "none":
        now = dict(at.base.model.named_parameters())
        assert all(torch.allclose(now[m.name], m.before + m.change, atol=1e-6) for m in at.moved())
        return
    moved = {m.name.removesuffix(".weight"): m.change for m in at.moved()}
    x = torch.randn(1, 3, 128)
    name = next(name for name in moved if name in at.delta.merged)
    out = torch.zeros(1, 3, moved[name].shape[0])
    at.delta.add(name, at.base.model.get_submodule(name), x, out)
    torch.testing.assert_close(out, x @ moved[name].T, rtol=1e-4, atol=1e-5)


def test_names_and_settings_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"arm 'sgd' is unknown; known are defaults"):
        arm("sgd")
    base = load_base(ModelSection(ref="pocket", quantization="none", device="cpu"))
    it = material(base, "weak_skill", 0, items=2)
    with pytest.raises(InputError, match="shows none"):
        learner(arm("sft"), base, it, 0, {})
    with pytest.raises(InputError, match="sigma, alpha, population, batch, not speed"):
        learner(arm("es-full"), base, it, 0, {"speed": 1})
    with pytest.raises(InputError, match="grader"):
        learner(arm("grpo"), base, material(base, "alias", 0, items=2), 0, {})
    quantized = load_base(ModelSection(ref="pocket", device="cpu"))
    with pytest.raises(InputError, match="quantization to none"):
        PaperES(quantized, it.events, 0, 0.1, 0.1, 2, 2)
    with pytest.raises(InputError, match="task 'poetry' is unknown"):
        material(base, "poetry", 0)


def test_the_unguarded_adapter_has_no_guard_and_each_other_one() -> None:
    bare = configuration(arm("es-adapter"), 3, {})
    assert bare.search.seed == 3 and bare.guards.decay == 0 and bare.guards.protect.energy == 0
    assert bare.gates.canary_kl is None and bare.learn.kl_below == 0 and not bare.search.focus
    single = [configuration(one, 3, {}) for name, one in ARMS.items() if name.startswith("es-adapter+")]
    assert all(one != bare for one in single) and len(set(map(repr, single))) == len(single)
    assert configuration(arm("defaults"), 0, {"search": {"alpha": 0.5}}).search.alpha == 0.5


def test_a_user_rates_right_and_wrong_or_by_likeness() -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    for task in ("weak_skill", "alias"):
        item = material(base, task, 0, items=2).events[0]
        right_one = item.grader["reference"] if item.grader else item.exchanges[0].answer
        assert User().rating(item, right_one) == User(similarity=True).rating(item, right_one) == 1.0
        assert User().rating(item, right_one + "!") == -1.0
        assert -1.0 < User(similarity=True).rating(item, right_one + "!") < 1.0
    with pytest.raises(InputError, match="search, user, not user"):
        learner(arm("defaults-live"), base, material(base, "alias", 0, items=2), 0, {"user": {"mood": 1}})


def test_live_evaluations_are_served_answers_and_the_search_for_linears() -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    at = learner(arm("defaults-live"), base, material(base, "weak_skill", 0, items=2), 0, EDGE)
    assert isinstance(at, Live)
    for _ in range(3):
        at.step()
    rows = at.journal.rows()
    assert [row.kind for row in rows] == ["anchor", "basis", "step", "step"] and len(at.ratings) == 3 * 8
    assert all(row.pairs and row.step < 0 for row in rows[2:])
    scouts = 2 * SCOUTS * len(rows[1].stats["scouted"]) * EDGE["learn"]["batch"]  # type: ignore[operator]
    assert at.evaluations == 3 * 8 + scouts


def test_grids_are_of_one_size() -> None:
    assert {len(one.grid) for one in ARMS.values() if one.grid} == {4}


def test_the_norm_of_the_papers_walk_is_its_formula() -> None:
    """Whatever the fitness: here it is that of random answers."""
    base = load_base(ModelSection(ref="pocket", quantization="none", device="cpu"))
    it = material(base, "alias", 0, items=2)
    at = PaperES(base, it.events, 5, 0.001, 0.01, population=10, batch=2)
    for _ in range(6):
        at.step()
    assert measured(at.moved()).norm == pytest.approx(at.formula(), rel=0.1)
    assert at.evaluations == 6 * 10 * 2


def test_advantages_are_within_a_group() -> None:
    found = advantages_of(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]))
    assert found[1].abs().max() == 0 and found[0].sum().abs() < 1e-6 and found[0, 0] > 0 > found[0, 1]


def test_the_clipped_loss_is_flat_where_it_is_clipped_and_pulls_to_the_anchor() -> None:
    old, kept = torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    for now, gain, flat in ((0.5, 1.0, True), (0.1, 1.0, False), (-0.5, -1.0, True), (-0.5, 1.0, False)):
        here = torch.full((1, 1), now, requires_grad=True)
        loss_of(here, old, here.detach(), torch.tensor([gain]), kept).backward()
        assert here.grad is not None and (float(here.grad) == 0) == flat
    here = torch.full((1, 1), 0.7, requires_grad=True)
    loss_of(here, here.detach(), old, torch.tensor([0.0]), kept).backward()
    assert here.grad is not None and float(here.grad) > 0  # less likely again: the anchor had it lower


def test_rollouts_are_scored_at_their_own_tokens() -> None:
    base = load_base(ModelSection(ref="pocket", quantization="none", device="cpu"))
    it = material(base, "alias", 0, items=5)
    batch = collate(base, it.task.texts)
    with torch.inference_mode():
        logits = base.model(input_ids=batch.ids, logits_to_keep=batch.columns).logits.float()
        mine = token_scores(logits, batch).sum(1)
    torch.testing.assert_close(mine, score_batch(base, batch, None).total, rtol=1e-4, atol=1e-4)


def test_a_restyled_suite_is_judged_by_content() -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    it = material(base, "style", 0, items=50)
    plain = material(base, "alias", 0, items=50).priors["add"]
    both = it.priors["add"]
    assert isinstance(both, Exact) and len(both.texts) == 2 * len(plain.texts) == 100
    delta = Delta()
    assert both.measure(base, delta) == plain.measure(base, delta)  # the anchor never writes the unit
    rows = [{"prompt": "What is 2+3?", "answer": "?"}]
    assert exact(base, rows).measure(base, delta).score == 0.0


def test_material_is_disjoint_from_what_guards_may_know() -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    it: Material = material(base, "alias", 1)
    items = {text.prompt for one in it.priors.values() for text in one.texts}
    assert not items & {text.prompt for text in it.protected}
    tested = {text.prompt for text in it.task.texts}
    assert not tested & {encode_prompt(base, event.exchanges[0].prompt) for event in it.events}
    assert len(it.near_prior) == len(it.near_task) == 64


@pytest.mark.parametrize("task", plan.TASKS)
def test_further_items_are_new_and_like_those_that_ship(task: str) -> None:
    base = load_base(ModelSection(ref="pocket", device="cpu"))
    few, many = (material(base, task, 0, 20, events).events for events in (512, 600))
    assert many[:512] == few and len(many) == 600
    assert len({event.exchanges[0].prompt for event in many}) == 600
    assert {event.kind for event in many} == {few[0].kind}
    tested = {text.prompt for text in material(base, task, 0).task.texts}
    assert not tested & {encode_prompt(base, event.exchanges[0].prompt) for event in many}
    assert len(material(base, task, 0, 20, 7).events) == 7
