"""One machine of a cluster: it holds the same base, follows the ledger and scores members. Knows no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_es import noise
from edge_es.cluster.way import Way
from edge_es.config import ModelSection
from edge_es.errors import StateError
from edge_es.evaluator import Ask, InProcess, Scores
from edge_es.ledger import apply_row
from edge_es.likelihood import Text
from edge_es.model import load_base
from edge_es.rows import Row
from edge_es.slices import run
from edge_es.spaces.blob import unpack
from edge_es.spaces.delta import Delta


@dataclass(frozen=True)
class Facts:
    """What must be the same everywhere, and the device, which need not be."""

    base_sha256: str
    quantization: str
    generator: str
    device: str


@dataclass(frozen=True)
class _Sent:
    """A journal of which only what came with a way is known."""

    blobs: Mapping[str, bytes]

    def rows(self) -> list[Row]:
        return []

    def snapshots(self) -> dict[int, str]:
        return {}

    def blob(self, sha256: str) -> bytes:
        return self.blobs[sha256]

    def append(self, row: Row, blobs: Mapping[str, bytes]) -> None:
        raise AssertionError("the ledger is kept where the model is served")


class Worker:
    """budget: as learn.memory_budget, of this machine. threads: of the CPU; None: as torch has it."""

    def __init__(self, model: ModelSection, budget: str, threads: int | None = None) -> None:
        if threads:
            import torch

            torch.set_num_threads(threads)
        self._base, self._budget = load_base(model), budget
        self._protected: Sequence[Text] = ()
        self._version: int | None = None
        self._delta = Delta()

    def facts(self) -> Facts:
        """Raises ModelError where the model cannot be loaded."""
        base = self._base
        return Facts(base.sha256, base.quantization, noise.GENERATOR, str(base.device))

    def equip(self, protected: Sequence[Text]) -> None:
        """protected: the texts that `Ask.near` counts, as the serving machine has them."""
        self._protected = protected

    def follow(self, way: Way) -> None:
        """To the version at the way's end. Raises StateError where its delta is another than is recorded."""
        if way.since is not None and way.since != self._version:
            raise StateError(f"the worker stands at version {self._version}, not at {way.since}")
        delta = self._delta
        if way.since is None:
            delta = unpack(way.snapshot) if way.snapshot is not None else Delta()
        for row in way.rows:
            delta = apply_row(delta.to("cpu"), row, {}, _Sent(way.blobs))
        if delta.sha256 != way.sha256:
            raise StateError(f"version {way.version} does not replay to its recorded delta on this worker")
        self._delta, self._version = delta.to(self._base.device), way.version

    def score(self, ask: Ask, pairs: range) -> Scores:
        """Of these pairs of the ask. Raises StateError for another version than it stands at."""
        if ask.version != self._version:
            raise StateError(f"the worker stands at version {self._version}, not at {ask.version}")
        at = InProcess(self._base, self._protected, self._budget)
        return run(at.scores(self._delta, replace(ask, pairs=pairs)))
