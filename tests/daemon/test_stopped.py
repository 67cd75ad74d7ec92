"""What a daemon leaves behind is what its folder tells when it is stopped."""

from pathlib import Path
from typing import Any

from tests.daemon.live import child, cli, demonstration, inside, merged


def test_that_learning_is_turned_off_is_still_known(tmp_path: Path, tree: dict[str, Any]) -> None:
    with child(tmp_path, merged(tree, {"learn": {"enabled": False}})) as live:
        told = live.get("/v1/status")
        assert (told["learning"], told["reason"]) == ("paused", "learning is turned off by learn.enabled")
        live.stop()
    row = cli("status", "--state-dir", str(tmp_path / "state"), "--json")
    assert (row["learning"], row["reason"]) == (told["learning"], told["reason"])
    assert row["device"] == "cpu" and row["memory"]["peak_bytes"] > 0


def test_a_stopped_folder_goes_back_only_to_what_can_be_rebuilt(tmp_path: Path, tree: dict[str, Any]) -> None:
    folder = tmp_path / "state"
    with inside(folder, tree) as live:
        for number in range(4):
            live.send(demonstration(number))
        live.until(lambda: len(live.versions("step")) >= 2, "steps")
        live.rest()
        before = live.versions()
        basis = next(row for row in before if row["kind"] == "basis")
    for blob in (folder / "blobs").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1])
    assert "damaged" in cli("rollback", str(basis["version"]), "--state-dir", str(folder), status=1)
    rows = cli("versions", "--state-dir", str(folder), "--json")
    assert len(rows) == len(before), "nothing was recorded"
    assert cli("rollback", "0", "--state-dir", str(folder), "--json")["target"] == 0
