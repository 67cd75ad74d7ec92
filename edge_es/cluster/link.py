"""What the serving machine and its driver say to each other, over a socket between the two processes alone.

The driver is this program's own child, at the other end of a pair of sockets without a name: nothing of this crosses
a network or touches a disk, which is why it may be pickled, and nothing else in this package may.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from edge_es.cluster.way import Way
from edge_es.cluster.worker import Facts
from edge_es.config import ModelSection, WorkersSection
from edge_es.evaluator import Ask, Scores
from edge_es.likelihood import Text


@dataclass(frozen=True)
class Begin:
    """To the driver, first of all. own: what the serving machine's base is. protected: see `Worker.equip`."""

    settings: WorkersSection
    model: ModelSection
    budget: str
    own: Facts
    protected: tuple[Text, ...]


@dataclass(frozen=True)
class Asked:
    """To the driver: evaluate this. Answers carry its number."""

    number: int
    ask: Ask


@dataclass(frozen=True)
class Dropped:
    """To the driver: nobody waits for that any more."""

    number: int


@dataclass(frozen=True)
class Told:
    """To the driver: the way that it needs, or why there is none."""

    number: int
    way: Way | str


@dataclass(frozen=True)
class Needed:
    """From the driver: a worker stands at `at` (None: it has no version), and is to get to `version`."""

    number: int
    version: int
    at: int | None


@dataclass(frozen=True)
class Came:
    """From the driver: the scores, or why there are none."""

    number: int
    scores: Scores | str


@dataclass(frozen=True)
class Standings:
    """From the driver, now and then: how its workers stand (`Hand.as_json`)."""

    workers: Sequence[Mapping[str, Any]]


def packed(message: object) -> bytes:
    """As it crosses."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def say(link: Connection, message: object) -> None:
    """Raises OSError where the other side is gone."""
    link.send_bytes(packed(message))


def heard(data: bytes) -> Any:
    """The message of these bytes."""
    return pickle.loads(data)
