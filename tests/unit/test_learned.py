"""Which events count as learned when other feedback comes."""

from edge_es.learned import SOLVED, learned


def test_solved_ones_spread_evenly() -> None:
    solved = {f"e{i}": 1.0 if i % 2 else SOLVED - 0.01 for i in range(20)}
    assert learned(solved, 99) == tuple(f"e{i}" for i in range(1, 20, 2))
    assert learned(solved, 5) == ("e1", "e5", "e9", "e13", "e17")
    assert learned(solved, 0) == learned({}, 9) == learned({"a": 0.5}, 9) == ()
