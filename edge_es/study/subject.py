"""Whom a study teaches, and the files that it brings: a model, its stories, its own probes. Imports no torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_es.errors import InputError


@dataclass(frozen=True)
class Subject:
    """model: local folder or hub id. stories: a text file or JSON Lines, a story a line. priors: probe files (JSON
    Lines, as `edge-es probe add` takes them) of what must be kept, beside what the task brings."""

    model: str = "pocket"
    stories: Path | None = None
    priors: tuple[Path, ...] = ()

    @property
    def embedded(self) -> bool:
        """Whether it is pocket, which brings tasks and suites of its own."""
        return self.model == "pocket"

    def as_json(self) -> Mapping[str, object]:
        """What a record keeps of it: names and digests, so that it reads alike wherever the files lie. Nothing of
        what is as it comes. Raises InputError for a file that is not there."""
        model = {} if self.embedded else {"model": Path(self.model).name if Path(self.model).is_dir() else self.model}
        stories = {"stories": _named(self.stories)} if self.stories else {}
        return {**model, **stories, **({"priors": [_named(path) for path in self.priors]} if self.priors else {})}


def _named(path: Path) -> str:
    try:
        return f"{path.name}@{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    except OSError as error:
        raise InputError(f"file {path} cannot be read: {error.strerror}") from None
