"""What the file system refuses a command, as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_es.errors import StateError


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Around what writes to `place`. Raises StateError with the system's reason for what it refuses."""
    try:
        yield
    except OSError as error:
        raise StateError(f"{place} cannot be written: {error.strerror or error}; name another place") from None
