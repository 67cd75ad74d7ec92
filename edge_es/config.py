"""The configuration tree: file (TOML) < environment (EDGE_ES_*) < command line. Unknown keys are errors.

Knows names, ranges and defaults; reads no model and imports no torch.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from edge_es.errors import ConfigError


class Section(BaseModel):
    """A part of the tree: unknown keys are errors, numbers are finite, nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """[model]: which weights, and how they are held."""

    ref: str = Field(
        "pocket",
        description="'pocket', a Hugging Face hub id, a local folder, or shape:NAME (a model's shape, random weights)",
    )
    revision: str | None = Field(None, description="hub revision (branch, tag or commit)")
    quantization: Literal["nf4", "int8", "none"] = "nf4"
    device: Literal["auto", "cuda", "cpu"] = "auto"
    context: int | None = Field(None, ge=16, description="tokens of context; default: what the model states")


class SearchSection(Section):
    """[search]: what evolution strategies move, and how far."""

    space: Literal["adapter", "scales", "full"] = Field(
        "adapter",
        description="what ES moves: a low-rank delta, a quantized model's scales, or an unquantized one's weights",
    )
    rank: int = Field(1, ge=1, le=64, description="input directions a layer that one input side searches")
    target_modules: list[str] = Field(
        ["k_proj", "v_proj", "o_proj"],
        min_length=1,
        description="linears among which the search chooses, by the end of their names; ['all-linear']: every one, "
        "which is also what a model gets that has none of the names",
    )
    tokens: Literal["all", "unexpected", "both"] = Field(
        "all",
        description="adapter: the feedback's tokens by whose inputs directions are found; all finds new wordings; "
        "unexpected, those that do not lead the model to the demonstrated answer, finds where a known request is to be "
        "answered otherwise",
    )
    max_rank: int = Field(16, ge=1, le=256, description="rank budget of the whole delta; parts beyond it are merged")
    population: int = Field(64, ge=2, description="members a step; even, since they come in antithetic pairs")
    sigma: float = Field(0.05, gt=0, description="standard deviation of a member's perturbation")
    alpha: float = Field(0.5, gt=0, description="step size")
    step_kl: float | None = Field(
        1e-4,
        gt=0,
        description="adapter: most nats a token that the noise of one step may cost protected texts; alpha is "
        "shortened to it, so that one value serves models of any scale",
    )
    renew: int = Field(
        80, ge=0, description="adapter: steps after which a further input side joins the earlier ones; 0: never"
    )
    anneal: bool = Field(True, description="shorten the steps as more of the feedback is solved")
    focus: bool = Field(
        True, description="adapter: search only linears that gain most, or most for their harm; false: all targets"
    )
    shrink: bool = Field(False, description="scale each step by how reliable the fitness has been of late")
    shaping: Literal["zscore", "rank"] = "zscore"
    exploration: Literal["off", "live"] = Field(
        "off",
        description="live: served answers come from small members, and their ratings are those members' fitness; once "
        "there is a basis",
    )
    live_sigma: float = Field(
        0.1,
        gt=0,
        description="sigma of the members that answer: larger than sigma, or answers would hardly ever differ and a "
        "rating say nothing of its member; small enough to be read, which gates.canary_kl sees to",
    )
    seed: int = Field(0, ge=0, lt=2**63)


class MaskSection(Section):
    """[guards.mask]: which units may move at all."""

    kind: Literal["none", "random", "magnitude", "activation"] = Field(
        "none", description="how the units that may move are chosen; activation: by input RMS times weight"
    )
    density: float = Field(
        1.0, gt=0, le=1, description="share of them, in each linear: rows of the output side, scales, or weights"
    )


class ProtectSection(Section):
    """[guards.protect]: which input directions are spared."""

    energy: float = Field(
        0.999, ge=0, lt=1, description="share of the protected inputs' energy that is spared; 0 turns it off"
    )
    inputs: str = Field(
        "auto",
        description="JSON Lines of protected prompts; 'auto': the model's own, else sampled from the anchor",
    )
    learned: int = Field(
        160, ge=0, description="events learned by the time other feedback comes, whose inputs are spared, too; 0: none"
    )


class GuardsSection(Section):
    """[guards]: what limits a step or the delta."""

    clip: float | None = Field(None, gt=0, description="largest norm of a step")
    mask: MaskSection = MaskSection()
    decay: float = Field(
        0.002, ge=0, lt=1, description="share of the delta that a step of full length draws back to the anchor"
    )
    trust_radius: float | None = Field(None, gt=0, description="largest norm of the delta")
    protect: ProtectSection = ProtectSection()


class GatesSection(Section):
    """[gates]: what decides whether a step may be published."""

    min_reliability: float = Field(
        0.1,
        ge=-1,
        le=1,
        description="split-half reliability of the fitness over which a batch is evidence of a signal, and under which "
        "it is evidence of none; -1 off",
    )
    max_tie_rate: float = Field(0.9, ge=0, le=1, description="most events on which all members tie; 1 off")
    canary_kl: float | None = Field(0.5, gt=0, description="most nats a token between anchor and candidate")


class LearnSection(Section):
    """[learn]: when, and from how much at once, it is learned."""

    enabled: bool = True
    min_events: int = Field(16, ge=1)
    max_uses: int = Field(64, ge=1, description="steps that one event may serve")
    batch: int = Field(32, ge=1, description="events a step, at least")
    max_batch: int = Field(
        256, ge=1, description="events a step, at most: batches grow as events agree less; `batch` or less: they do not"
    )
    groups: int = Field(
        4, ge=1, description="parts of the population, each scored on its own part of the batch; 1: all on all of it"
    )
    holdout: float = Field(0.2, ge=0, lt=1, description="share of the events that is never trained on, only probed")
    kl_below: float = Field(
        0.1,
        ge=0,
        le=1,
        description="novelty share under which, or without a null space, KL to the anchor joins the fitness; 0: never",
    )
    kl_weight: float = Field(30.0, ge=0, description="nats of what is taught that a nat of KL weighs")
    task_tokens: int = Field(64, ge=1, description="longest answer that a graded task is given")
    memory_budget: str = Field("auto", description="'auto' or a size such as '8GiB'")


class FeedbackSection(Section):
    """[feedback]: whom the learner believes, and how far."""

    review: bool = Field(
        False, description="hold what comes in until `edge-es feedback approve` lets it be learned from"
    )
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {},
        description="source tag -> weight of its events beside others; 1 where none is given, 0: never learned from; "
        "the key '' is for events without a source",
    )
    max_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="largest share of one source in a batch while others have events left; 1: off",
    )
    clip: float = Field(
        0.25,
        ge=0,
        lt=0.5,
        description="largest share of a batch that is left out of the fitness, of those events that contradict the "
        "others look after look, the lowest ranks first; they are drawn less, too; 0: off",
    )

    def weight(self, source: str | None) -> float:
        """Of an event with this source tag."""
        return self.weights.get(source or "", 1.0)


class ProbesSection(Section):
    """[probes]: how prior abilities are measured, and what counts as forgetting."""

    every: int = Field(50, ge=1, description="versions between two probe rounds")
    tolerance: float = Field(0.02, ge=0, lt=1, description="drop in retention that is not yet forgetting")
    alpha: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        description="significance that a drop must reach on one half of a suite and keep on the other",
    )
    suites: list[str] = Field(["auto"], description="JSON Lines files; 'auto': the suites that ship with the model")


class RollbackSection(Section):
    """[rollback]: what follows on forgetting."""

    halve_step: bool = True
    max_in_a_row: int = Field(3, ge=1, description="rollbacks without a passed probe between; then learning pauses")


class MetricSection(Section):
    """[metrics.NAME]: the values that a rating may have, and which of them are better."""

    type: Literal["boolean", "float"]
    optimize: Literal["max", "min"] = "max"
    low: float = -1.0
    high: float = 1.0


class ServeSection(Section):
    """[serve]: where and how requests are answered, and what they may ask for."""

    host: str = "127.0.0.1"
    port: int = Field(8420, ge=0, le=65535, description="0 takes a free one")
    max_tokens: int = Field(256, ge=1, description="answer length where a request names none")
    max_rows: int = Field(32, ge=1, description="answers decoded at once")
    max_waiting: int = Field(256, ge=1, description="requests that may wait; more are answered 429")
    max_slowdown: float = Field(
        1.05, ge=1, le=10, description="how many times as long answers may take when learning; 1: it waits for gaps"
    )
    max_slice_ms: float = Field(
        250.0,
        gt=0,
        description="longest time that a slice of learning keeps a request waiting, and that only after nobody has "
        "asked for long: while requests come slices are of 20 ms, or of this if it is less",
    )
    prefix_cache: str = Field("256MiB", description="what earlier turns of chats may hold; '0B' keeps none")
    allowed_hosts: list[str] = Field([], description="further Host names, beside loopback and `host`")
    rate: int | None = Field(None, ge=1, description="requests a minute by one client; more are answered 429")
    log_text: bool = Field(
        False, description="let the log quote error messages of bugs, which may hold what was asked and said"
    )


class WorkersSection(Section):
    """[workers]: who evaluates members: this process, or workers on more machines by Ray (edge-es[ray])."""

    evaluator: Literal["in_process", "ray"] = "in_process"
    address: str = Field(
        "local", description="a Ray cluster's, such as 'host:6379'; 'local': one of its own on this machine"
    )
    count: int = Field(2, ge=1, description="workers, each of which holds the model")
    cpus: int = Field(1, ge=1, description="of each worker")
    gpus: float = Field(0.0, ge=0, description="of each worker; may be a share of one")
    pairs: int = Field(4, ge=1, description="antithetic pairs that are handed out at once")
    min_share: float = Field(
        0.75, gt=0, le=1, description="share of the pairs with which a step goes on where the rest is lost"
    )
    patience: float = Field(120.0, gt=0, description="seconds after which a worker that does not answer is lost")


class StateSection(Section):
    """[state]: the state folder, and how much it keeps."""

    dir: str | None = Field(None, description="state folder; default: the user's data folder")
    keep_events: int = Field(
        100_000,
        ge=0,
        description="newest events whose text is kept when nothing more is learned from it; newest answers that can be "
        "rated",
    )
    keep_versions: int = Field(
        500, ge=1, description="newest versions that can be verified and gone back to; older ones stay in the listings"
    )


BUILT_IN_METRICS = {
    "thumbs": MetricSection(type="boolean"),
    "rating": MetricSection(type="float", low=-1.0, high=1.0),
}


class Config(Section):
    """The whole tree. `load` builds it; the fields are frozen."""

    model: ModelSection = ModelSection()
    search: SearchSection = SearchSection()
    guards: GuardsSection = GuardsSection()
    gates: GatesSection = GatesSection()
    learn: LearnSection = LearnSection()
    feedback: FeedbackSection = FeedbackSection()
    probes: ProbesSection = ProbesSection()
    rollback: RollbackSection = RollbackSection()
    metrics: dict[str, MetricSection] = {}
    serve: ServeSection = ServeSection()
    workers: WorkersSection = WorkersSection()
    state: StateSection = StateSection()

    def all_metrics(self) -> dict[str, MetricSection]:
        """Configured metrics over the built-in ones."""
        return {**BUILT_IN_METRICS, **self.metrics}


class _WithEnvironment(Config, BaseSettings):
    """The tree from the file and the environment. A class of its own, since settings read the environment whenever
    they are validated: the command line, which goes over it, is merged into a plain `Config`."""

    model_config = SettingsConfigDict(
        env_prefix="EDGE_ES_", env_nested_delimiter="__", extra="forbid", frozen=True, allow_inf_nan=False
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` hands the file in by init; the environment goes before it.
        return (env_settings, init_settings)


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def read_toml(path: Path) -> dict[str, Any]:
    """The file as a tree. Raises ConfigError that names the file and the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"configuration file {path} does not exist; `edge-es config init` writes one") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error}") from None


def _check_environment() -> None:
    """Settings pass over a variable whose section is misspelt; here it is an error like any unknown key."""
    for name in os.environ:
        section, nested, _ = name.upper().removeprefix("EDGE_ES_").partition("__")
        if name.upper().startswith("EDGE_ES_") and nested and section.lower() not in Config.model_fields:
            raise ConfigError(f"environment variable {name}: unknown section; `edge-es config show` lists all keys")


def load(path: Path | None = None, command_line: dict[str, Any] | None = None) -> Config:
    """File < environment < command line.

    `command_line` is a nested dict of the options that were given. Raises ConfigError with one line that names the key.
    """
    tree = read_toml(path) if path else {}
    _check_environment()
    try:
        config = Config.model_validate(_merge(_WithEnvironment(**tree).model_dump(), command_line or {}))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = (
            "unknown key; `edge-es config show` lists all keys" if first["type"] == "extra_forbidden" else first["msg"]
        )
        raise ConfigError(f"configuration key {key}: {hint}") from None
    if config.search.population % 2:
        raise ConfigError(
            f"configuration key search.population: {config.search.population} is odd; members come in pairs"
        )
    side = config.search.rank * (2 if config.search.tokens == "both" else 1)
    if 2 * side > config.search.max_rank and config.search.space == "adapter":
        raise ConfigError(
            f"configuration key search.max_rank: it must be at least {2 * side}: a new input side has rank {side}, and "
            "what was learned by the earlier ones needs as much"
        )
    return config


UNITS = {
    "B": 1,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}


def parse_bytes(text: str) -> int:
    """'8GiB', '512 MiB' or '1000000' in bytes. Raises ConfigError."""
    compact = text.replace(" ", "").upper()
    digits = compact.rstrip("BKMGTI")
    try:
        size = int(float(digits) * UNITS[compact[len(digits) :] or "B"])
    except (ValueError, KeyError, OverflowError):
        size = -1
    if size < 0:
        raise ConfigError(f"'{text}' is no size in bytes; write it like '8GiB'")
    return size
