"""Where learning stands, what a turn reads besides its batch, and how both are found again after a restart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from edge_es import batch, consensus
from edge_es.config import Config
from edge_es.consensus import NEW, Standing
from edge_es.evaluator import Ask, Evaluator, InProcess
from edge_es.evidence import Evidence
from edge_es.feedback import Event
from edge_es.ledger import WHOLE, Journal, Row, head, published, rebuild
from edge_es.likelihood import Text
from edge_es.memory import Plan, plan
from edge_es.model import Base
from edge_es.spaces.delta import Delta


@dataclass(frozen=True)
class State:
    """Where learning stands: derived from the journal alone (`resume`), replaced by every turn.

    attempt: number of the newest attempt. walk: summed squares of the step norms behind the delta. captured: what the
    active input side captured of the feedback it was made for. novelty: novelty share then; None: nothing protected.
    noise_kl: mean KL to the anchor of its members on protected texts then, nats a token; None: not measured.
    evidence: what is known of the fitness' reliability since the newest rollback. A new input side does not end it:
    under noise each would let some steps through.
    near: which of the protected texts are watched; None: not sought yet. looked: the attempt when they were sought.
    solved: event -> share of members that solved it when they last met it, since the newest rollback, in the order of
    the last look. aged: steps behind the delta since the active part began. learned_by: attempt when the feedback came
    that the active side was made for; what was learned by then it spares, too. None: nothing.
    protection: what the active input side was made under, so that a changed configuration makes a new one.
    """

    version: int
    delta: Delta
    attempt: int
    walk: float = 0.0
    captured: float | None = None
    novelty: float | None = None
    noise_kl: float | None = None
    protection: str | None = None
    evidence: Evidence = field(default_factory=Evidence)
    near: tuple[int, ...] | None = None
    looked: int = 0
    solved: Mapping[str, float] = field(default_factory=dict)
    standing: Mapping[str, Standing] = field(default_factory=dict)
    aged: int = 0
    learned_by: int | None = None

    def known(self, event_id: str) -> tuple[Standing, float]:
        """How an event agrees with the others, and which share of members solves it, as far as is known."""
        return self.standing.get(event_id, NEW), self.solved.get(event_id, 0.0)

    def chance(self, event_id: str, doubting: bool = True) -> float:
        """Weight of an event in the draw of a batch. doubting: those that contradict the others are drawn less."""
        standing, solved = self.known(event_id)
        return batch.chance(solved, standing.looks if doubting and consensus.doubted(standing, solved) else 0)

    def batch_size(self, config: Config) -> int:
        """Events that the next step takes, where there are so many."""
        return self.evidence.batch(config.learn.batch, config.learn.max_batch, config.gates.min_reliability)


@dataclass(frozen=True)
class Surroundings:
    """What a turn reads besides its batch.

    protected: texts whose input directions are removed; those still read most are the canary's and the drift's too.
    centres: running mean of each metric's ratings. step_scale: 1, halved by every rollback. recall: the events of these
    ids, as far as they are still held.
    """

    base: Base
    config: Config
    journal: Journal
    protected: Sequence[Text]
    centres: Mapping[str, float]
    step_scale: float = 1.0
    evaluator: Evaluator | None = None
    recall: Callable[[Sequence[str]], Sequence[Event]] = lambda ids: ()


def resume(journal: Journal, device: torch.device) -> State:
    """The state after the newest row of the journal. Raises StateError where it does not replay."""
    rows = journal.rows()
    newest = head(rows)
    assert newest.version is not None
    delta = rebuild(journal, newest.version).to(device)
    state = State(newest.version, delta, rows[-1].attempt)
    state = replace(state, evidence=_evidence_so_far(rows), solved=solved_so_far(rows), standing=_standing_so_far(rows))
    versions = published(rows)
    # Walk back along the deltas: a rollback continues at its target.
    at: int | None = newest.version
    settled = False  # whether what the active part was made under is known, or known to be lost
    while at is not None:
        row = versions[at]
        if row.kind == "step":
            walk = state.walk + (row.stats.get("step_norm") or 0.0) ** 2
            state = replace(state, walk=walk, aged=state.aged + (not settled))
        # Merged or imported parts without the basis that was to follow them are no search space: a new one is made.
        settled = settled or row.kind in WHOLE
        if row.kind == "import":  # what it brings counts as one step; what was before it is not behind the delta
            state = replace(state, walk=state.walk + (row.stats.get("delta_norm") or 0.0) ** 2)
            break
        if row.kind == "basis" and not settled:
            settled = True
            state = replace(
                state,
                captured=row.stats.get("captured"),
                novelty=row.stats.get("novelty_share"),
                noise_kl=row.stats.get("noise_kl"),
                protection=row.reason,
                learned_by=row.stats.get("learned_by"),
            )
        at = row.target if row.kind == "rollback" else row.parent
    return state


def evaluator_of(around: Surroundings) -> Evaluator:
    """The one that is given, or this process."""
    budget = around.config.learn.memory_budget
    return around.evaluator or InProcess(around.base, around.protected, budget)


def asking(state: State, around: Surroundings, step: int) -> Ask:
    """What is asked of every group of members; pairs and events are each group's own."""
    search = around.config.search
    return Ask(
        version=state.version,
        seed=search.seed,
        step=step,
        sigma=search.sigma,
        pairs=range(0),
        events=(),
        centres=around.centres,
        task_tokens=around.config.learn.task_tokens,
    )


def room_of(state: State, around: Surroundings) -> Plan:
    """What the memory budget leaves for a batch under one version."""
    return plan(around.base, state.delta, around.config.learn.memory_budget, 0)


def solved_so_far(rows: Sequence[Row]) -> dict[str, float]:
    """As the turns knew it, from what the journal kept of them."""
    solved: dict[str, float] = {}
    for row in rows:
        if row.kind == "rollback":
            solved = {}
        elif row.kind == "step" and "solved" in row.stats:
            batch.look(solved, row.events, row.stats["solved"])
    return solved


def _standing_so_far(rows: Sequence[Row]) -> dict[str, Standing]:
    """As the turns knew it, from what the journal kept of them."""
    standing: dict[str, Standing] = {}
    for row in rows:
        if row.kind == "rollback":
            standing = {}
        elif row.kind == "step" and "agreement" in row.stats:
            consensus.look(standing, row.events, [tenths / 10 for tenths in row.stats["agreement"]])
    return standing


def _evidence_so_far(rows: Sequence[Row]) -> Evidence:
    """As the turns made it, from what the journal kept of them."""
    evidence = Evidence()
    for row in rows:
        if row.kind == "rollback":
            evidence = Evidence()
        elif row.kind == "step":
            evidence = evidence.after(row.stats.get("fitness_reliability"), len(row.events))
    return evidence
