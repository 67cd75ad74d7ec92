"""The fixtures of the daemon's tests."""

from tests.daemon.conftest import roomy_folder, tree

__all__ = ["roomy_folder", "tree"]
