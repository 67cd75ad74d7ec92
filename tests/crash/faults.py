"""A disk that fails at every call in turn, and one that loses power at every moment. Runs in a process of its own, with
`disk.c` preloaded; prints what it found as JSON.

    LIBRARY fail ONE|ALL    every write, fsync, truncate, rename and unlink of a story fails once: with an I/O error,
                            with a full disk, with half a write; ONE: each call in one of these ways, in turn
    LIBRARY cut SEEDS       the story's disk as it is when power goes before each of its calls: with all that was
                            written, with what was synced alone, and, for so many seeds, with a part of the rest
"""

import ctypes
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.crash.lost_power import Disk, Left, entries
from tests.crash.story import Facts, Story, check

HOWS = {1: "I/O error", 2: "full disk", 3: "half a write"}


def fail(place: Path, library: Any, all_ways: bool) -> dict[str, Any]:
    """One story a call and way of failing."""
    library.disk_watch(str(place / "quiet").encode(), None)
    Story(random.Random(0)).tell(place / "quiet")
    calls = library.disk_calls()
    found: dict[str, Any] = {"calls": calls, "runs": 0, "refusals": 0, "wrong": []}
    for n in range(1, calls + 1):
        for how in HOWS if all_ways else [1 + n % len(HOWS)]:
            folder, story = place / f"{n}-{how}", Story(random.Random(0))
            library.disk_watch(str(folder).encode(), None)
            library.disk_fail(n, how)
            try:
                story.tell(folder)
                library.disk_watch(b"", None)
                check(folder, story.facts)
            except Exception as error:  # whatever it is, it is what was found
                found["wrong"].append(f"call {n}, {HOWS[how]}: {type(error).__name__}: {error}")
            library.disk_watch(b"", None)
            found["runs"] += 1
            found["refusals"] += story.refused
            shutil.rmtree(folder, ignore_errors=True)
    return found


def cut(place: Path, library: Any, seeds: int) -> dict[str, Any]:
    """One story, and its disk at every moment."""
    told: list[Facts] = [Facts()]

    def note(facts: Facts) -> None:
        told.append(Facts(set(facts.sent), set(facts.acknowledged), dict(facts.tried), dict(facts.stood)))
        library.disk_note(str(len(told) - 1).encode())

    journal, story = place / "journal", Story(random.Random(0), note)
    library.disk_watch(str(place / "told").encode(), str(journal).encode())
    story.tell(place / "told")
    library.disk_watch(b"", None)
    found: dict[str, Any] = {"moments": 0, "disks": 0, "wrong": []}
    disk, facts = Disk(), told[0]
    for entry in entries(journal):
        if entry.kind == "note":
            facts = told[int(entry.path)]
        disk.do(entry)
        found["moments"] += 1
        ways: list[tuple[Left, int]] = [("all", 0), ("synced", 0), *(("some", seed) for seed in range(seeds))]
        for left, seed in ways:
            folder = place / f"{found['moments']}-{left}-{seed}"
            try:
                disk.write(folder, left, random.Random(1000 * found["moments"] + seed))
                check(folder, Facts(story.facts.sent, facts.acknowledged, story.facts.tried, facts.stood))
            except Exception as error:
                found["wrong"].append(f"moment {found['moments']}, {left}, {seed}: {type(error).__name__}: {error}")
            found["disks"] += 1
            shutil.rmtree(folder, ignore_errors=True)
    assert story.refused == 0
    return found


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    library.disk_calls.restype = ctypes.c_long
    library.disk_fail.argtypes = [ctypes.c_long, ctypes.c_long]
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        what, how = sys.argv[2:]
        found = fail(Path(place), library, how == "ALL") if what == "fail" else cut(Path(place), library, int(how))
    print(json.dumps({**found, "wrong": found["wrong"][:20], "wrongs": len(found["wrong"])}))


if __name__ == "__main__":
    main()
