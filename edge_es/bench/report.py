"""What was measured as one JSON value, and as the rows of a table."""

import datetime
from importlib import metadata
from typing import Any

from edge_es import __version__
from edge_es.bench.backprop import RANK
from edge_es.bench.rows import NEW_TOKENS
from edge_es.bench.suite import Arm, Found, Options
from edge_es.config import Config

ARMS = ("plain", "es_step", "in_place", "backprop", "decode_plain", "decode_es")
MORE = ("in_place_decode", "plain_whole", "plain_shared", "decode_anchor", "decode_generate")
PACKAGES = ("torch", "transformers", "bitsandbytes", "peft")

WHAT = {
    "plain": "plain forward passes of the same rows in as many batches; the faster of plain_whole and plain_shared",
    "es_step": "one learning step: ask, score the members, shape, guard, tell",
    "in_place": "the same members by writing noise into unquantized weights",
    "backprop": f"LoRA (rank {RANK}) with AdamW, one step on the items",
    "decode_plain": f"{NEW_TOKENS} tokens for every row; the faster of decode_anchor and decode_generate",
    "decode_es": f"{NEW_TOKENS} tokens for every row, each by its own member",
    "in_place_decode": "the same answers, one member after another in place",
    "plain_whole": "the transformers model called on the whole rows",
    "decode_anchor": "all rows by the anchor, each read by itself, by the decoder that serves",
    "decode_generate": "all rows by transformers' generate",
    "plain_shared": "the same, what the items begin with read once for each member's rows",
}

RATIOS = {
    "time_over_plain": "scoring all members, over plain passes of the same rows",
    "memory_over_plain": "a learning step, over plain passes, the model itself not counted",
    "memory_over_plain_with_base": "the same, the model counted",
    "speedup_over_in_place": "a learning step sooner than in place",
    "memory_below_backprop": "memory saved against backprop at the same rows a batch, the models not counted",
    "memory_below_backprop_with_base": "the same, the models counted",
    "memory_below_backprop_checkpointing": "against backprop with gradient checkpointing, the models not counted",
    "decode_over_plain": "tokens a second for members, over plain",
    "speedup_over_in_place_decode": "members' answers sooner than in place",
}


def as_json_value(found: Found, config: Config, options: Options) -> dict[str, Any]:
    """Seconds are medians, spread their minimum and maximum. peak_bytes is what is held above the model at once,
    peak_bytes_with_base includes the model. An arm that did not run is null; `reasons` says why."""
    facts, memory = found.facts, found.memory
    value: dict[str, Any] = {
        "device": facts["device"],
        "model": config.model.ref,
        "quantization": config.model.quantization,
        "population": config.search.population,
        "rows": facts["rows"],
    }
    value |= {name: _arm(found.arms[name]) if name in found.arms else None for name in (*ARMS, *MORE)}
    value["plain"]["way"] = facts["plain_way"]
    if value["decode_plain"]:
        value["decode_plain"]["way"] = facts["plain_decode_way"]
    value["es_step"]["scoring_seconds"] = found.arms["es_scoring"].runs.median
    if value["backprop"]:
        value["backprop"] |= {"items": options.items, "rank": RANK}
    value["ratios"] = ratios(found)
    value["memory_at_same_rows"] = dict(memory) or None
    value["reasons"] = dict(found.reasons)
    value["items"] = {"count": options.items, "source": facts["items"], "tokens": facts["row_tokens"]}
    for key in (
        "threads",
        "shared_tokens",
        "batches",
        "plain_batches",
        "batch_rows",
        "layers",
        "base_bytes",
        "base_unchanged",
        "floor",
    ):
        value[key] = facts[key]
    value["search"] = config.search.model_dump(include={"rank", "target_modules", "sigma"})
    value |= {"seed": options.seed, "repeats": options.repeats, "seconds": options.seconds}
    value["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    value["versions"] = {"edge-es": __version__, **{name: _version(name) for name in PACKAGES}}
    return value


def ratios(found: Found) -> dict[str, float | None]:
    """Of what ran; null where one side did not."""
    arms, memory = found.arms, found.memory
    step, plain, scoring = arms["es_step"], arms["plain"], arms["es_scoring"]
    result: dict[str, float | None] = dict.fromkeys(RATIOS)
    result["time_over_plain"] = scoring.runs.median / plain.runs.median
    result["memory_over_plain"] = step.peak / plain.peak
    result["memory_over_plain_with_base"] = (step.model + step.peak) / (plain.model + plain.peak)
    if "in_place" in arms:
        result["speedup_over_in_place"] = arms["in_place"].runs.median / step.runs.median
    if memory:
        held, its = memory["es_step"], memory["backprop_base"]
        result["memory_below_backprop"] = 1 - held / memory["backprop"]
        result["memory_below_backprop_with_base"] = 1 - (step.model + held) / (its + memory["backprop"])
        result["memory_below_backprop_checkpointing"] = 1 - held / memory["backprop_checkpointing"]
    if "decode_es" in arms:
        result["decode_over_plain"] = _rate(arms["decode_es"]) / _rate(arms["decode_plain"])
        if "in_place_decode" in arms:
            result["speedup_over_in_place_decode"] = _rate(arms["decode_es"]) / _rate(arms["in_place_decode"])
    return result


def table(value: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows of the arms that ran, from the JSON value."""
    columns = ("", ">seconds", ">min to max", ">tokens/s", ">MiB above model", ">MiB with model")
    rows: list[tuple[Any, ...]] = []
    for name in (*ARMS, *MORE):
        arm = value[name]
        if arm is not None:
            spread = f"{arm['spread'][0]:.3f} to {arm['spread'][1]:.3f}"
            sizes = (f"{arm[key] / 2**20:.1f}" for key in ("peak_bytes", "peak_bytes_with_base"))
            rows.append((name, arm["seconds"], spread, f"{arm['tokens_per_second']:.0f}", *sizes))
    return columns, rows


def legend(value: dict[str, Any]) -> list[tuple[str, str]]:
    """What each arm is, or why it did not run."""
    names = [name for name in (*ARMS, *MORE) if value[name] is not None or name in value["reasons"]]
    return [(name, f"not run: {value['reasons'][name]}" if value[name] is None else WHAT[name]) for name in names]


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "seconds": arm.runs.median,
        "spread": [min(arm.runs.seconds), max(arm.runs.seconds)],
        "runs": len(arm.runs.seconds),
        "tokens_per_second": _rate(arm),
        "peak_bytes": arm.peak,
        "peak_bytes_with_base": arm.model + arm.peak,
    }


def _rate(arm: Arm) -> float:
    return arm.tokens / arm.runs.median


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
