"""What it costs to have members evaluated by workers: the same asks in this process, on as many cores."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from edge_es import noise
from edge_es.cluster.driven import Driven
from edge_es.cluster.link import Begin, packed
from edge_es.cluster.way import way_to
from edge_es.cluster.worker import Facts
from edge_es.config import Config
from edge_es.errors import InputError
from edge_es.evaluator import Ask, Evaluator, InProcess
from edge_es.learner import look_around, shares, turn, watched
from edge_es.ledger import MemoryJournal, anchor_row
from edge_es.model import Base, load_base
from edge_es.slices import run
from edge_es.state import State, Surroundings, asking, resume
from edge_es.study.tasks import material

Say = Callable[[str], None]


def compared(config: Config, counts: Sequence[int], rounds: int, say: Say = lambda line: None) -> dict[str, Any]:
    """A step's asks on the alias of `pocket`, evaluated here and by workers in turn, after each has done so once.

    counts: numbers of workers, `config.workers.cpus` cores each; this process takes as many threads. Returns {asks:
    what a step is, workers: [{count, in_process_seconds, workers_seconds (medians), overhead, evaluation_seconds,
    out_bytes, back_bytes}]}. Raises InputError for another model, ClusterError where the workers fail.
    """
    if config.model.ref != "pocket":
        raise InputError("bench-workers measures pocket, whose items it brings", "model")
    base = load_base(config.model)
    it = material(base, "alias", config.search.seed, 1)
    journal = MemoryJournal()
    journal.append(anchor_row(), {})
    around = Surroundings(base, config, journal, it.protected, {})
    events = it.events[: config.learn.batch]
    state = run(turn(resume(journal, base.device), events, True, around))
    state = run(look_around(state, around))
    asks = _asks(state, around, events)
    evaluations = sum(2 * len(ask.pairs) * len(ask.events) for ask in asks)
    here = InProcess(base, it.protected, config.learn.memory_budget)
    threads = torch.get_num_threads()
    rows = []
    try:
        for count in counts:
            workers = config.workers.model_copy(update={"evaluator": "ray", "count": count})
            own = Facts(base.sha256, base.quantization, noise.GENERATOR, str(base.device))
            begin = Begin(workers, config.model, config.learn.memory_budget, own, it.protected)
            there = Driven(begin, partial(way_to, journal))
            try:
                torch.set_num_threads(count * workers.cpus)
                row = _paired(state, here, there, asks, rounds, say)
            finally:
                there.close()
            rows.append({"count": count, **row, "evaluation_seconds": row["workers_seconds"] / evaluations})
            say(f"{count} workers: {row['overhead']:+.1%}")
    finally:
        torch.set_num_threads(threads)
    return {"asks": _told(asks, config, base, evaluations), "workers": rows}


def _asks(state: State, around: Surroundings, events: Sequence[Any]) -> list[Ask]:
    """Those of one step, as a turn has them."""
    config, step = around.config, state.attempt + 1
    groups = shares(config.search.population // 2, events, config.learn.groups)
    near = watched(state.near or (), step)
    whole = asking(state, around, step)
    return [
        replace(whole, pairs=pairs, events=tuple(own), near=near[group :: len(groups)])
        for group, (pairs, own) in enumerate(groups)
    ]


def _paired(
    state: State, here: Evaluator, there: Evaluator, asks: Sequence[Ask], rounds: int, say: Say
) -> dict[str, Any]:
    own, theirs = [], []
    for number in range(rounds + 1):
        mine, others = _seconds(state, here, asks), _seconds(state, there, asks)
        if number:  # the first of each starts what stays
            own.append(mine)
            theirs.append(others)
        say(f"round {number}: {mine:.2f} s here, {others:.2f} s by workers")
    scores = run(here.scores(state.delta, asks[0]))
    items = sum(len(packed(ask.events)) for ask in asks)
    return {
        "in_process_seconds": statistics.median(own),
        "workers_seconds": statistics.median(theirs),
        "overhead": statistics.median(theirs) / statistics.median(own) - 1,
        "out_bytes": sum(len(packed(ask)) for ask in asks) - items,
        "back_bytes": len(asks) * len(packed(scores)),
        "item_bytes": items,
    }


def _seconds(state: State, at: Evaluator, asks: Sequence[Ask]) -> float:
    began = time.perf_counter()
    for ask in asks:
        run(at.scores(state.delta, ask))
    return time.perf_counter() - began


def _told(asks: Sequence[Ask], config: Config, base: Base, evaluations: int) -> dict[str, Any]:
    return {
        "population": config.search.population,
        "parts": len(asks),
        "events": sum(len(ask.events) for ask in asks),
        "evaluations": evaluations,
        "pairs_of_a_share": config.workers.pairs,
        "device": str(base.device),
        "seed": config.search.seed,
    }
