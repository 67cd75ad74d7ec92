"""How smooth the dashboard is with a long past: `python -m tests.browser.smooth [--versions 5000] [--json]`.

A real daemon on a made-up past (`tests.browser.fabricated`), a real headless Chromium beside it. Bars: 0.5 s to the
first paint, 1 s from an event to what is seen of it, no frame over 100 ms. Frames are the gaps between two
requestAnimationFrame calls, while the page loads, is scrolled, clicked through, and while news come.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright

from tests.browser.conftest import launched
from tests.browser.fabricated import fill
from tests.daemon.live import Live, child

LOADS, EVENTS = 5, 5
CONTROL = 15_000  # ms
# From the first moment of the page on: the longest gap between frames, and when a text last changed.
RECORD = """() => {
  window.gaps = [];
  window.changed = {};
  let last = performance.now();
  const frame = (now) => { gaps.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  const watch = (id) => new MutationObserver(() => { changed[id] = Date.now(); })
    .observe(document.getElementById(id), { childList: true, characterData: true, subtree: true });
  addEventListener("DOMContentLoaded", () => ["version", "state"].forEach(watch));
}"""


def longest(page: Any) -> float:
    """The longest frame since the last call, in ms; the first, which began before the page did, does not count."""
    found: list[float] = page.evaluate("() => { const all = gaps.slice(1); gaps.length = 1; return all; }")
    return max(found, default=0.0)


def load(browser: Any, live: Live, token: str) -> tuple[Any, dict[str, float]]:
    """A page in a context without a cache, and its times in seconds and ms."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.add_init_script(f"({RECORD})()")
    page.goto(f"{live.url}/#token={token}")
    page.wait_for_selector("#suites button")
    page.wait_for_selector("#norm-chart canvas")
    seen = page.evaluate("() => performance.now()")
    page.wait_for_timeout(1000)
    paints = page.evaluate("() => performance.getEntriesByType('paint').map((one) => [one.name, one.startTime])")
    paint = dict(paints)["first-contentful-paint"]
    return page, {"first_paint_s": paint / 1000, "data_seen_s": seen / 1000, "load_frame_ms": longest(page)}


def used(page: Any) -> dict[str, float]:
    """The longest frames while a person looks around."""
    found = {}
    for step in range(30):
        page.mouse.wheel(0, 120 if step < 15 else -120)
        page.wait_for_timeout(20)
    found["scroll_frame_ms"] = longest(page)
    for name in ("#suites button >> nth=3", "[data-range='500']", "[data-range='50']", "[data-range='0']"):
        page.locator(name).click()
        page.wait_for_timeout(700)
    box = page.locator("#retention-chart").bounding_box()
    for x in range(60, int(box["width"]) - 60, 25):
        page.mouse.move(box["x"] + x, box["y"] + 100)
    found["click_frame_ms"] = longest(page)
    return found


def control(browser: Any, live: Live) -> dict[str, float]:
    """First paint, and the longest frame, of a line of text on which nothing happens: what else the machine does."""
    paints = []
    for _ in range(LOADS):
        page = browser.new_context().new_page()
        page.goto(f"{live.url}/healthz")
        page.wait_for_timeout(500)
        (paint,) = page.evaluate("() => performance.getEntriesByName('first-contentful-paint').map((p) => p.startTime)")
        paints.append(paint / 1000)
        page.context.close()
    page = browser.new_page()
    page.add_init_script(f"({RECORD})()")
    page.goto("data:text/html,<p id=version></p><p id=state></p>")
    page.wait_for_timeout(CONTROL)
    found = longest(page)
    page.close()
    return {"one_line_paint_s": max(paints), "one_line_frame_ms": found}


def listen(live: Live, heard: dict[str, float]) -> None:
    """Keeps when an event of a kind last came, in seconds since the epoch."""
    kinds = {"event: learning": "state", "event: version": "version"}
    with suppress(httpx.HTTPError), live.client.stream("GET", "/v1/events", timeout=None) as stream:
        for line in stream.iter_lines():
            if line in kinds:
                heard[kinds[line]] = time.time()


def told(page: Any, live: Live) -> dict[str, float]:
    """Seconds from an event, as another reader of the stream hears of it, to what is seen of it; and the longest frame
    meanwhile."""
    found: dict[str, list[float]] = {"state": [], "version": []}
    heard: dict[str, float] = {}
    threading.Thread(target=listen, args=(live, heard), daemon=True).start()
    for number in range(EVENTS):
        for what, path, body in (
            ("state", "/v1/learning/pause" if number % 2 == 0 else "/v1/learning/resume", {}),
            ("version", "/v1/rollback", {"version": 0}),
        ):
            page.evaluate("(id) => { delete changed[id]; }", what)
            live.post(path, body)
            for _ in range(500):
                at = page.evaluate("(id) => changed[id] ?? null", what)
                if at is not None:
                    break
                page.wait_for_timeout(20)
            found[what].append(at / 1000 - heard[what])
            page.wait_for_timeout(600)
    times = {f"{what}_seen_s": max(values) for what, values in found.items()}
    return {**times, "news_frame_ms": longest(page)}


def main(arguments: list[str] | None = None) -> int:
    """Prints the worst of several loads; exit status 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=5000)
    parser.add_argument("--every", type=int, default=20, help="versions from a probe round to the next")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    tree: dict[str, Any] = {
        "model": {"ref": "pocket", "device": "cpu"},
        "serve": {"port": 0},
        "learn": {"min_events": 1000, "max_uses": 1},
        "probes": {"suites": []},
    }
    with tempfile.TemporaryDirectory() as place, sync_playwright() as tool:
        fill(Path(place) / "state", given.versions, given.every)
        browser = launched(tool)
        with child(Path(place), tree) as live:
            live.rest()
            token = json.loads((live.folder / "tokens.json").read_text())["admin"]
            loads = []
            for _ in range(LOADS):
                page, times = load(browser, live, token)
                loads.append(times)
                if len(loads) < LOADS:
                    page.context.close()
            row: dict[str, Any] = {"versions": given.versions, "rounds": given.versions // given.every, "loads": LOADS}
            row |= {name: max(one[name] for one in loads) for name in loads[0]}
            row["first_paint_median_s"] = statistics.median(one["first_paint_s"] for one in loads)
            row |= used(page) | told(page, live)
            idle = control(browser, live)
            browser.close()
    row["longest_frame_ms"] = max(value for name, value in row.items() if name.endswith("frame_ms"))
    row |= idle
    bars = {"first_paint_s": 0.5, "state_seen_s": 1.0, "version_seen_s": 1.0, "longest_frame_ms": 100.0}
    row["missed"] = [name for name, bar in bars.items() if row[name] > bar]
    if given.json:
        print(json.dumps(row, indent=2))
    else:
        for name, value in row.items():
            bar = f"  (bar {bars[name]:g})" if name in bars else ""
            print(f"{name:20} {value:.3f}{bar}" if isinstance(value, float) else f"{name:20} {value}")
    return 1 if row["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
