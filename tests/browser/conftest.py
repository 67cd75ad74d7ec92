"""Fixtures: one real daemon with a past, and a real browser."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.browser.fabricated import fill
from tests.daemon.live import Live, child

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The browser's path: $EDGE_ES_CHROMIUM, else one that is installed."""
    given = os.environ.get("EDGE_ES_CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


def launched(tool: Any) -> Any:
    """A headless Chromium."""
    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or name one by EDGE_ES_CHROMIUM")
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium refuses to run its sandbox as root
    return tool.chromium.launch(executable_path=path, args=sandbox)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Ends with its module: Playwright keeps an event loop running, in which other tests could start none."""
    with playwright.sync_playwright() as tool:
        found = launched(tool)
        yield found
        found.close()


@dataclass
class Past:
    """A daemon with a made-up past. story: the version of a rollback that the probes asked for."""

    live: Live
    token: str
    story: int


@pytest.fixture(scope="module")
def past(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """pocket, one small suite, nothing that is learned by itself; what comes in waits for a review."""
    place = tmp_path_factory.mktemp("past")
    story = fill(place / "state", 240, 10, suites=("sums",))
    (place / "state" / "probes").mkdir()
    items = [{"prompt": f"What is {i}+{i + 2}?", "answer": str(2 * i + 2)} for i in range(1, 21)]
    (place / "state" / "probes" / "sums.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    tree = {
        "model": {"ref": "pocket", "device": "cpu"},
        "serve": {"port": 0},
        "learn": {"min_events": 1000, "max_uses": 1, "holdout": 0.0},
        "probes": {"suites": []},
        "feedback": {"review": True},
    }
    with child(place, tree) as live:
        live.rest()
        yield Past(live, json.loads((live.folder / "tokens.json").read_text())["admin"], story)


@dataclass
class Tab:
    """A page, and what it complained of."""

    page: Any
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def opened(browser: Any, past: Past) -> Iterator[Callable[..., Any]]:
    """Opens the dashboard; with the token, unless told otherwise. At the end no page may have complained."""
    tabs: list[Tab] = []

    def open_(token: str | None = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        tab = Tab(context.new_page())
        tabs.append(tab)
        tab.page.set_default_timeout(60_000)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.on("console", lambda said: tab.complaints.append(said.text) if said.type == "error" else None)
        given = past.token if token == "" else token
        tab.page.goto(f"{past.live.url}/" + (f"#token={given}" if given else ""))
        tab.page.wait_for_selector("#send:enabled")
        tab.page.wait_for_selector("#link[data-stands=true]")
        tab.page.wait_for_selector("#suites button")
        return tab.page

    yield open_
    for tab in tabs:
        tab.page.context.close()
    assert [said for tab in tabs for said in tab.complaints if "401" not in said] == []


def write_shot(page: Any, name: str) -> None:
    """A picture for people, where EDGE_ES_SHOTS names a folder."""
    folder = os.environ.get("EDGE_ES_SHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
