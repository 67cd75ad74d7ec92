"""The whole bench, model by model: each is loaded, measured and freed before the next one is loaded.

1. The base as it serves: plain forward passes and learning steps in turn, then answers decoded plainly and for members.
2. An unquantized copy: the perturb-in-place loop, and on a CPU backprop.
What cannot be run is null, with the reason; nothing is estimated in its place.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from edge_es.bench import backprop, calls, in_place, plain
from edge_es.bench.floor import floor
from edge_es.bench.measure import Runs, alternate
from edge_es.bench.rows import NEW_TOKENS, items
from edge_es.config import Config, ModelSection, load
from edge_es.errors import InputError
from edge_es.meter import peak_bytes, release
from edge_es.model import Base, base_hash, load_base

SLOW_REPEATS = 3
LEFT_OUT = {  # what --without takes: the arms that it leaves out
    "in_place": ("in_place", "in_place_decode"),
    "backprop": ("backprop",),
    "decode": ("decode_plain", "decode_es", "decode_anchor", "decode_generate", "in_place_decode"),
}

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What to measure. tokens None: pocket's own items, or random ones of the default length. repeats: of the scoring
    runs; slow ones take at most SLOW_REPEATS. seconds: what is quick is repeated for so long. without: some of
    LEFT_OUT."""

    ref: str = "pocket"
    quantization: str = "nf4"
    device: str = "auto"
    population: int = 32
    items: int = 8
    tokens: int | None = None
    repeats: int = 7
    seconds: float = 0.0
    without: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Arm:
    """runs: timed. tokens: read or made in one of them. peak: bytes above the model, whose own are `model`."""

    runs: Runs
    tokens: int
    peak: int
    model: int


@dataclass
class Found:
    """What was measured, filled as the bench goes on. Arms that did not run are in `reasons` instead.

    memory: bytes of a learning step and of backprop, both at so many rows a batch.
    """

    arms: dict[str, Arm] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """A run of the bench: what was asked for, what has been found, and where it says what it is doing."""

    config: Config
    options: Options
    found: Found
    say: Callable[[str], None]

    @property
    def slow_repeats(self) -> int:
        """Of what takes so long that few have to do."""
        return min(self.options.repeats, SLOW_REPEATS)

    def leave_out(self, name: str, reason: str) -> None:
        """The first reason stays."""
        self.found.reasons.setdefault(name, reason)

    def runs(self, name: str) -> bool:
        """Whether this is not left out."""
        return name not in self.found.reasons


def bench(options: Options, say: Callable[[str], None] = lambda line: None) -> tuple[Found, Config]:
    """Runs everything; `say` gets a line when something begins. Raises ConfigError, ModelError and InputError."""
    check(options)
    model = {"ref": options.ref, "quantization": options.quantization, "device": options.device}
    config = load(None, {"model": model, "search": {"population": options.population, "seed": options.seed}})
    run = Bench(config, options, Found(), say)
    for name in options.without:
        for arm in LEFT_OUT[name]:
            run.leave_out(arm, "left out by --without")
    if not backprop.installed():
        run.leave_out("backprop", backprop.INSTALL)
    _on(config.model, run, _serving)
    gradients = "backprop" in run.found.arms or not run.runs("backprop")
    if run.runs("in_place") or not gradients:
        _on(config.model.model_copy(update={"quantization": "none"}), run, _unquantized)
    rows = run.found.memory.get("rows", 0)
    if 0 < rows < run.found.facts["batch_rows"]:
        run.found.memory["es_step"] = _on(config.model, run, lambda base, run: _step_peak(base, run, rows))
    elif rows:
        run.found.memory["es_step"] = run.found.arms["es_step"].peak
    return run.found, config


def _on(section: ModelSection, run: Bench, work: Callable[[Base, Bench], T]) -> T:
    """`work` on a base that is gone afterwards."""
    run.say(f"loading {section.ref}, quantization {section.quantization}")
    base = load_base(section)
    device = base.device
    try:
        return work(base, run)
    finally:
        del base
        release(device)


def _serving(base: Base, run: Bench) -> None:
    """What the base as it serves is measured by; and whether there is room for an unquantized one after it."""
    needs, room = in_place.copy_bytes(base), base.weight_bytes + calls.room(base)
    _learning(base, run)
    _answers(base, run)
    run.found.facts["base_unchanged"] = base_hash(base) == base.sha256
    quantized_training = base.device.type == "cuda" or base.quantization == "none"
    if quantized_training:
        _backprop(base, run)
    if needs > room:
        lacks = f"an unquantized copy needs {needs / 2**30:.1f} GiB; {room / 2**30:.1f} GiB may be taken"
        for arm in ("in_place", "in_place_decode", *(() if quantized_training else ("backprop",))):
            run.leave_out(arm, lacks)


def _unquantized(base: Base, run: Bench) -> None:
    if "backprop" not in run.found.arms:
        _backprop(base, run)
    _in_place(base, run)  # last: its updates are not taken back


def _step_peak(base: Base, run: Bench, rows: int) -> int:
    """A learning step's memory in batches of the rows at which backprop's was measured."""
    it = _subject(base, run)
    return peak_bytes(base.device, lambda: calls.step(it, 1, rows))


def _subject(base: Base, run: Bench) -> calls.Subject:
    reading, chosen = items(base, run.options.items, run.options.tokens, run.options.seed)
    return calls.subject(reading, run.config, chosen)


def _learning(base: Base, run: Bench) -> None:
    it, device, held = _subject(base, run), base.device, base.weight_bytes
    number = itertools.count(1)  # a step's noise is new, as in learning
    run.say("plain forward passes and learning steps")
    passes = calls.step(it, next(number)).passes
    pieces = calls.pieces(it)
    whole = [calls.Piece(calls.without_beginning(piece.batch), piece.repeats) for piece in pieces]

    def read(some: list[calls.Piece]) -> None:
        for piece in some:
            plain.scores(base.model, piece.batch, piece.repeats)

    works: dict[str, Callable[[], object]] = {
        "plain_whole": lambda: read(whole),
        "es_step": lambda: calls.step(it, next(number)),
    }
    shared = max(piece.batch.shared for piece in pieces)
    if shared:
        works["plain_shared"] = lambda: read(pieces)
    tokens = it.members * sum(len(text) for text in it.texts)
    runs = alternate(device, works, run.options.repeats, least=run.options.seconds)
    arms = {name: Arm(runs[name], tokens, peak_bytes(device, work), held) for name, work in works.items()}
    scoring = tuple(result.scoring for result in runs["es_step"].results)
    arms["es_scoring"] = Arm(Runs(scoring, ()), tokens, arms["es_step"].peak, held)
    ways = [name for name in ("plain_whole", "plain_shared") if name in arms]
    run.found.facts["plain_way"] = min(ways, key=lambda name: runs[name].median)
    arms["plain"] = arms[run.found.facts["plain_way"]]  # what is compared with is the faster way
    run.found.arms |= arms
    rows = [piece.repeats * len(piece.batch.ids) for piece in pieces]
    run.found.facts |= {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "items": it.items.source,
        "rows": sum(rows),
        "row_tokens": max(len(text) for text in it.texts),
        "shared_tokens": shared,
        "batches": passes,
        "plain_batches": len(pieces),
        "batch_rows": max(rows),
        "layers": len(it.delta.active.basis.slots),
        "base_bytes": held,
        "floor": floor(it, pieces),
    }


def _answers(base: Base, run: Bench) -> None:
    if not run.runs("decode_es"):
        return
    run.say("answers, plain and for members")
    it, number = _subject(base, run), itertools.count(1)
    rows = [text.prompt for _ in range(it.members) for text in it.texts]
    at_once = calls.answers_at_once(it, NEW_TOKENS)

    def generate() -> int:
        some = [rows[i : i + at_once] for i in range(0, len(rows), at_once)]
        return sum(plain.answers(base.model, part, NEW_TOKENS, base.pad_id) for part in some)

    works: dict[str, Callable[[], object]] = {
        "decode_anchor": lambda: calls.decode(it, None, NEW_TOKENS),
        "decode_generate": generate,
        "decode_es": lambda: calls.decode(it, next(number), NEW_TOKENS),
    }
    runs = alternate(base.device, works, run.slow_repeats, least=run.options.seconds)
    for name, work in works.items():
        peak = peak_bytes(base.device, work)
        run.found.arms[name] = Arm(runs[name], runs[name].results[0], peak, base.weight_bytes)
    way = min(("decode_anchor", "decode_generate"), key=lambda name: runs[name].median)
    run.found.facts["plain_decode_way"] = way
    run.found.arms["decode_plain"] = run.found.arms[way]  # what is compared with is the faster way


def _in_place(base: Base, run: Bench) -> None:
    if not run.runs("in_place"):
        return
    it, device, held = _subject(base, run), base.device, base.weight_bytes
    draw = in_place.dense(base, run.options.seed)
    batch = calls.batch_of(it, shared=run.found.facts["plain_way"] == "plain_shared")  # what was faster for plain
    lengths = batch.answer.sum(1).clamp(min=1).cpu()

    def score() -> float:
        return float((plain.scores(base.model, batch) / lengths).mean())

    def learn(members: int) -> None:
        in_place.update(in_place.evaluate(members, in_place.SIGMA, draw, score), in_place.ALPHA, draw)

    def answer(members: int) -> int:
        made = in_place.evaluate(members, in_place.SIGMA, draw, lambda: calls.decode(it, None, NEW_TOKENS, 1))
        return int(sum(made))

    run.say("the same members, perturbed in place one after another")
    runs = alternate(
        device, {"all": lambda: learn(it.members)}, run.slow_repeats, lambda: learn(2), run.options.seconds
    )["all"]
    tokens = it.members * sum(len(text) for text in it.texts)
    # Every member holds as much as any other, so two of them show the peak.
    run.found.arms["in_place"] = Arm(runs, tokens, peak_bytes(device, lambda: learn(2)), held)
    if run.runs("in_place_decode"):
        runs = alternate(
            device, {"all": lambda: answer(it.members)}, run.slow_repeats, lambda: answer(2), run.options.seconds
        )["all"]
        made = runs.results[0]
        run.found.arms["in_place_decode"] = Arm(runs, made, peak_bytes(device, lambda: answer(2)), held)


def _backprop(base: Base, run: Bench) -> None:
    if not run.runs("backprop"):
        return
    it, device, count = _subject(base, run), base.device, run.options.items
    layers = base.targets(run.config.search.target_modules)
    longest = max(range(count), key=lambda i: len(it.texts[i]))

    def peak(which: Sequence[int], checkpointing: bool = False) -> int:
        """Of two training steps on these items, the adapters and their optimizer included."""
        batch = calls.batch_of(it, which)

        def train() -> None:
            with backprop.training(base, layers, checkpointing) as at:
                for _ in range(2):
                    backprop.step(at, batch)

        return peak_bytes(device, train)

    run.say("LoRA with AdamW by backprop")
    # On a CPU, memory that is not there ends the process: what one more row takes says how many may be tried.
    one, two = peak([longest]), peak([longest] * 2)
    most = max(0, 1 + (calls.room(base) - one) // max(1, two - one))
    if most < count:
        run.leave_out(
            "backprop", f"there is memory for {most} rows of {len(it.texts[longest])} tokens, not for {count}"
        )
        return
    with backprop.training(base, layers) as at:
        batch = calls.batch_of(it)
        runs = alternate(
            device, {"all": lambda: backprop.step(at, batch)}, run.slow_repeats, least=run.options.seconds
        )["all"]
    tokens = sum(len(text) for text in it.texts)
    run.found.arms["backprop"] = Arm(runs, tokens, peak(range(count)), base.weight_bytes)
    rows = run.found.facts["batch_rows"]
    while rows > count and rows > most:
        rows = max(count, rows // 2)
    same = [i % count for i in range(rows)]
    run.found.memory |= {
        "rows": rows,
        "backprop": peak(same),
        "backprop_checkpointing": peak(same, checkpointing=True),
        "backprop_base": base.weight_bytes,
    }


def check(options: Options) -> None:
    """Raises InputError for what no run could use."""
    unknown = set(options.without) - set(LEFT_OUT)
    if unknown:
        raise InputError(f"--without {min(unknown)}: it takes {', '.join(LEFT_OUT)}")
    if options.population < 2 or options.population % 2:
        raise InputError(f"--population {options.population}: members come in pairs; take an even number")
