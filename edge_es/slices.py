"""Long work on the device as a generator: it yields where a request may go in between, and returns its result."""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Slices = Generator[None, None, T]


def run(slices: Slices[T]) -> T:
    """Runs to the end without pausing and returns the result."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: T = end.value
            return result
