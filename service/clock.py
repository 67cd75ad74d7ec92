"""Times and identifiers: the only impure values the service makes up."""

import os
import time
import uuid
from datetime import UTC, datetime


def now() -> str:
    """ISO 8601 in UTC, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def uuid7() -> str:
    """A bare UUIDv7 (RFC 9562): 48 bits of milliseconds, then random ones, so that ids sort by their time."""
    milliseconds = time.time_ns() // 1_000_000
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)  # version
    value = value & ~(0x3 << 62) | (0x2 << 62)  # variant
    return str(uuid.UUID(int=value))
