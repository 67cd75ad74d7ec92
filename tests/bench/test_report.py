"""The whole bench on the embedded model: the JSON that scripts read, and reasons where something did not run."""

from typing import Any

import pytest

from edge_es.bench import backprop, calls
from edge_es.bench.report import as_json_value, legend, table
from edge_es.bench.suite import Options, bench
from edge_es.errors import EdgeError

ARMS = ("plain", "es_step", "in_place", "backprop", "decode_plain", "decode_es")
RATIOS = (
    *("time_over_plain", "memory_over_plain", "speedup_over_in_place", "memory_below_backprop", "decode_over_plain"),
)


def value(**options: Any) -> dict[str, Any]:
    chosen = Options(device="cpu", population=4, items=2, repeats=1, **options)
    return as_json_value(*bench(chosen), chosen)


def test_the_json_has_the_promised_shape_and_positive_numbers() -> None:
    pytest.importorskip("peft")
    found = value()
    assert list(found)[:12] == ["device", "model", "quantization", "population", "rows", *ARMS, "in_place_decode"]
    assert (found["device"], found["model"], found["quantization"]) == ("cpu", "pocket", "nf4")
    assert (found["population"], found["rows"]) == (4, 8)
    for arm in ARMS:
        assert found[arm]["seconds"] > 0 and found[arm]["peak_bytes"] > 0
        assert found[arm]["spread"][0] <= found[arm]["seconds"] <= found[arm]["spread"][1]
        assert found[arm]["peak_bytes_with_base"] > found[arm]["peak_bytes"]
    assert 0 < found["es_step"]["scoring_seconds"] <= found["es_step"]["seconds"]
    assert set(RATIOS) <= set(found["ratios"])
    assert all(ratio is not None for ratio in found["ratios"].values())
    time = found["es_step"]["scoring_seconds"] / found["plain"]["seconds"]
    assert found["ratios"]["time_over_plain"] == pytest.approx(time)
    held = found["memory_at_same_rows"]
    assert held["rows"] == found["batch_rows"] == 8
    assert found["ratios"]["memory_below_backprop"] == pytest.approx(1 - held["es_step"] / held["backprop"])
    assert held["backprop"] > found["backprop"]["peak_bytes"]  # 8 rows hold more than the 2 items
    ways = [found[way]["seconds"] for way in ("plain_whole", "plain_shared")]
    assert found["plain"]["seconds"] == min(ways)
    assert found["base_unchanged"] is True and found["reasons"] == {}
    assert found["batches"] == found["plain_batches"] == 1
    ways = [found[way]["seconds"] for way in ("decode_anchor", "decode_generate")]
    assert found["decode_plain"]["seconds"] == min(ways)
    assert len(table(found)[1]) == len(legend(found)) == 11


def test_what_is_left_out_is_null_with_its_reason() -> None:
    found = value(ref="shape:tiny", without=("in_place", "backprop", "decode"))
    for arm in ("in_place", "in_place_decode", "backprop", "decode_plain", "decode_es"):
        assert found[arm] is None and found["reasons"][arm] == "left out by --without"
    assert found["ratios"]["speedup_over_in_place"] is found["ratios"]["memory_below_backprop"] is None
    assert found["ratios"]["time_over_plain"] > 0 and found["memory_at_same_rows"] is None
    assert found["plain_shared"] is None and found["plain"]["way"] == "plain_whole"
    assert found["items"] == {
        **{"count": 2, "source": "random items of 64 tokens, 16 of them the answer", "tokens": 64},
    }


def test_without_peft_the_row_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backprop, "installed", lambda: False)
    found = value(without=("in_place", "decode"))
    assert found["backprop"] is None
    assert "pip install" in found["reasons"]["backprop"]
    assert ("backprop", f"not run: {backprop.INSTALL}") in legend(found)


def test_what_does_not_fit_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "room", lambda base: 0)
    found = value(without=("decode",))
    assert found["in_place"] is None and found["backprop"] is None
    assert found["reasons"]["in_place"].startswith("an unquantized copy needs")


def test_backprop_s_rows_shrink_until_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    whole = value(without=("decode", "in_place"))
    room = (whole["backprop"]["peak_bytes"] + whole["memory_at_same_rows"]["backprop"]) // 2  # 2 rows fit, 8 do not
    rooms = iter([10**9, room])  # asked for the copy, then for backprop
    monkeypatch.setattr(calls, "room", lambda base: next(rooms))
    found = value(without=("decode", "in_place"))["memory_at_same_rows"]
    assert 2 <= found["rows"] < 8
    assert found["backprop"] < whole["memory_at_same_rows"]["backprop"]
    assert found["es_step"] < whole["memory_at_same_rows"]["es_step"]  # measured at those rows, too


@pytest.mark.parametrize("options", [{"population": 3}, {"items": 600}, {"tokens": 600}, {"ref": "shape:huge"}])
def test_bad_options_are_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(EdgeError) as caught:
        bench(Options(**{"device": "cpu", "population": 2, "items": 1, "repeats": 1, **options}))
    assert "\n" not in str(caught.value)
