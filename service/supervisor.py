"""Tells systemd that the daemon is ready, that it lives, and that it ends: sd_notify's datagrams, nothing more."""

import os
import socket


def notify(*assignments: str) -> bool:
    """Sends assignments such as READY=1 to $NOTIFY_SOCKET. False where no supervisor listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
            wire.setblocking(False)  # a supervisor that does not read must not stop the daemon
            wire.sendto("\n".join(assignments).encode(), address.replace("@", "\0", 1))
    except OSError:
        return False
    return True


def watchdog_seconds() -> float | None:
    """How often the supervisor is to hear WATCHDOG=1, at half its patience; None where it does not ask."""
    try:
        patience, pid = int(os.environ["WATCHDOG_USEC"]), int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return patience / 2e6 if patience > 0 and pid == os.getpid() else None
