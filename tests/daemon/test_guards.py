"""Each guard on and off by configuration: its effect is read in `versions`, as a user would."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.live import demonstration, inside, merged

ROUNDING = 1 + 1e-5
SEARCHED = "rank 2 in k_proj, v_proj, o_proj, the best of them"
FREE = {"decay": 0.0}


def learned(folder: Path, tree: dict[str, Any], guards: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps that a daemon takes under these guards on four lessons, each used three times."""
    changes = {
        "guards": FREE | guards,
        "search": {"focus": False},  # the same linears, whatever the guard leaves of them
        "learn": {"max_uses": 3},
        "probes": {"every": 1000},
    }
    with inside(folder, merged(tree, changes)) as live:
        for number in range(4):
            live.send(demonstration(number))
        assert live.rest()["reason"] is None
        rows = live.versions("step")
        assert live.get("/v1/verify")["ok"]
    assert [row["state"] for row in rows] == ["published"] * 3
    return rows


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> list[dict[str, Any]]:
    return learned(tmp_path_factory.mktemp("free") / "state", tree, {})


def test_without_guards_nothing_is_held(unguarded: list[dict[str, Any]]) -> None:
    assert all(row["step_norm"] > 0.02 for row in unguarded)
    assert all(row["sparsity"] == 0 for row in unguarded)
    norms = [row["delta_norm"] for row in unguarded]
    assert norms == sorted(norms) and norms[-1] > 1.2 * norms[0]
    assert norms[0] == pytest.approx(unguarded[0]["step_norm"], rel=1e-5)
    assert unguarded[0]["walk_ratio"] == pytest.approx(1, rel=1e-5)
    assert all(0 < row["novelty_share"] < 1 for row in unguarded)


def test_clip_bounds_every_step(tmp_path: Path, tree: dict[str, Any], unguarded: list[dict[str, Any]]) -> None:
    most = 0.5 * min(row["step_norm"] for row in unguarded)
    rows = learned(tmp_path, tree, {"clip": most})
    assert [row["step_norm"] for row in rows] == pytest.approx([most] * 3, rel=1e-5)
    assert rows[0]["delta_norm"] == pytest.approx(most, rel=1e-5)


def test_a_clip_that_is_wide_enough_changes_nothing(
    tmp_path: Path, tree: dict[str, Any], unguarded: list[dict[str, Any]]
) -> None:
    rows = learned(tmp_path, tree, {"clip": 1000.0})
    assert [row["step_norm"] for row in rows] == [row["step_norm"] for row in unguarded]


@pytest.mark.parametrize("density", [0.5, 0.1])
def test_the_mask_leaves_rows_as_they_were(
    tmp_path: Path, tree: dict[str, Any], unguarded: list[dict[str, Any]], density: float
) -> None:
    rows = learned(tmp_path, tree, {"mask": {"kind": "random", "density": density}})
    assert rows[0]["sparsity"] == pytest.approx(1 - density, abs=0.08)
    assert len({row["sparsity"] for row in rows}) == 1, "the same rows may move in every step"
    # The first step has the members of the unguarded one, so that only the masked rows' share is missing.
    share = (rows[0]["step_norm"] / unguarded[0]["step_norm"]) ** 2
    assert share == pytest.approx(density, abs=0.12)


def test_decay_draws_the_delta_back(tmp_path: Path, tree: dict[str, Any], unguarded: list[dict[str, Any]]) -> None:
    def beyond(rows: list[dict[str, Any]]) -> list[bool]:
        """Is more left of the delta before a step than a tenth?"""
        return [b["delta_norm"] > 0.1 * a["delta_norm"] + b["step_norm"] for a, b in pairwise(rows)]

    rows = learned(tmp_path, tree, {"decay": 0.9})
    assert rows[0]["delta_norm"] == unguarded[0]["delta_norm"], "there is nothing to draw back yet"
    assert beyond(rows) == [False, False]
    assert beyond(unguarded) == [True, True]


def test_the_trust_region_bounds_the_delta(
    tmp_path: Path, tree: dict[str, Any], unguarded: list[dict[str, Any]]
) -> None:
    radius = 1.1 * unguarded[0]["delta_norm"]
    rows = learned(tmp_path, tree, {"trust_radius": radius})
    assert rows[0]["delta_norm"] == unguarded[0]["delta_norm"], "the first step lies inside"
    assert all(row["delta_norm"] <= radius * ROUNDING for row in rows)
    assert rows[-1]["delta_norm"] == pytest.approx(radius, rel=1e-4)


def test_protection_turned_off_reads_what_the_feedback_excites(
    tmp_path: Path, tree: dict[str, Any], unguarded: list[dict[str, Any]]
) -> None:
    with inside(tmp_path, merged(tree, {"guards": {"protect": {"energy": 0.0}}})) as live:
        for number in range(4):
            live.send(demonstration(number))
        live.rest()
        steps, bases = live.versions("step"), live.versions("basis")
    assert steps and all(row["novelty_share"] is None for row in steps)
    assert [row["reason"] for row in bases] == [f"{SEARCHED}; 0 of the protected energy removed"]


def test_protected_inputs_may_be_sampled_from_the_anchor(tmp_path: Path, tree: dict[str, Any]) -> None:
    with inside(tmp_path, merged(tree, {"guards": {"protect": {"inputs": "auto"}}})) as live:
        for number in range(4):
            live.send(demonstration(number))
        live.rest()
        assert all(0 < row["novelty_share"] < 1 for row in live.versions("step"))


def test_another_protection_after_a_restart_makes_a_new_input_side(tmp_path: Path, tree: dict[str, Any]) -> None:
    for energy in (0.9, 0.5):
        with inside(tmp_path, merged(tree, {"guards": {"protect": {"energy": energy}}})) as live:
            for number in range(4):
                live.send(demonstration(int(10 * energy) + number))
            live.rest()
            assert live.get("/v1/verify")["ok"]
            rows = live.versions()
    bases = [row for row in rows if row["kind"] == "basis"]
    made = [f"{SEARCHED}; {energy} of the protected energy removed, inputs " for energy in ("0.9", "0.5")]
    assert all(row["reason"].startswith(what) for row, what in zip(bases, made, strict=True))
    assert rows[-1]["delta_norm"] > 0


def test_other_protected_inputs_in_the_same_file_make_a_new_input_side(tmp_path: Path, tree: dict[str, Any]) -> None:
    inputs = tmp_path / "protected.jsonl"
    shutil.copy(tree["guards"]["protect"]["inputs"], inputs)
    settings = merged(tree, {"guards": {"protect": {"inputs": str(inputs)}}})
    reasons = []
    for start in range(3):
        with inside(tmp_path, settings) as live:
            for number in range(4):
                live.send(demonstration(10 * start + number))
            live.rest()
            reasons.append([row["reason"] for row in live.versions("basis")])
        if start == 1:
            inputs.write_text("".join(inputs.read_text().splitlines(keepends=True)[1:]))
    assert [len(found) for found in reasons] == [1, 1, 2]
    assert reasons[2][0] == reasons[0][0] != reasons[2][1]
