"""What one sees: a plot that grows where there is a terminal, a line a measurement where there is none."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

HEIGHT, WIDTH = 10, 64
MARKS = {"task": "●", "worst prior suite": "×"}
STYLES = {"task": "green", "worst prior suite": "red"}


@dataclass(frozen=True)
class Point:
    """A measurement: seconds since the start, the series it belongs to, a value of 0 to 1."""

    seconds: float
    series: str
    value: float


def plot(points: Sequence[Point]) -> list[list[str]]:
    """The series' name, or '', on a grid of HEIGHT + 1 rows (1.0 above, 0.0 below) and WIDTH columns."""
    grid = [["" for _ in range(WIDTH)] for _ in range(HEIGHT + 1)]
    span = max([point.seconds for point in points], default=0.0) or 1.0
    for point in points:
        column = round(point.seconds / span * (WIDTH - 1))
        grid[HEIGHT - round(min(1.0, max(0.0, point.value)) * HEIGHT)][column] = point.series
    return grid


@dataclass
class Screen:
    """Collects notes and points. `live` is None where output is no terminal."""

    live: "Live | None" = None
    started: float = field(default_factory=time.monotonic)
    points: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """A line of the story."""
        line = f"{time.monotonic() - self.started:6.1f} s  {text}"
        self.notes.append(line)
        if self.live is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self.live.update(self.render())

    def point(self, series: str, value: float, text: str) -> None:
        """A measurement, drawn and told."""
        self.points.append(Point(time.monotonic() - self.started, series, value))
        self.note(text)

    def render(self) -> "RenderableType":
        """The plot over the newest lines of the story."""
        from rich.console import Group
        from rich.text import Text

        lines = []
        for number, row in enumerate(plot(self.points)):
            line = Text(f"{1 - number / HEIGHT:4.1f} ┤", style="dim")
            for series in row:
                line.append(MARKS.get(series, " "), style=STYLES.get(series, ""))
            lines.append(line)
        span = max([point.seconds for point in self.points], default=0.0)
        lines.append(Text("     └" + "─" * WIDTH + f" {span:.0f} s", style="dim"))
        legend = Text("      ")
        for series, mark in MARKS.items():
            legend.append(f"{mark} {series}   ", style=STYLES[series])
        return Group(*lines, legend, Text(), *(Text(note) for note in self.notes[-12:]))


@contextmanager
def screen() -> Iterator[Screen]:
    """A screen on standard error, so that standard output stays free for JSON."""
    if not sys.stderr.isatty():
        yield Screen()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4, vertical_overflow="visible") as live:
        yield Screen(live)
