"""Writes that arrive while another commit is on its way to the disk run together in the next one. Knows no database."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any


class Write:
    """What one thread asks for. `run` by whichever thread commits; `result` by the one that asked."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._action = action
        self._value: Any = None
        self._error: BaseException | None = None
        self.settled = False

    def run(self) -> None:
        """Keeps what the action returns."""
        self._value = self._action()

    def fail(self, error: BaseException) -> None:
        """It raised this, or the commit that was to hold it did; the first counts."""
        self._error = self._error or error

    def result(self) -> Any:
        """Raises what the action, or the commit, raised."""
        if self._error is not None:
            raise self._error
        return self._value


class Queue:
    """Those that wait behind `turn`, the lock that a commit is made under."""

    def __init__(self, turn: threading.RLock) -> None:  # type: ignore[valid-type]
        self._turn = turn
        self._waiting: deque[Write] = deque()

    def do(self, action: Callable[[], Any], commit: Callable[[Sequence[Write]], None]) -> Any:
        """The action's result, once a commit that held it has returned. Who gets the turn first commits for all who
        wait by then; one alone waits for nobody. Raises what its own action, or the commit, raised."""
        own = Write(action)
        self._waiting.append(own)
        with self._turn:
            if not own.settled:
                self._settle(commit)
        return own.result()

    def _settle(self, commit: Callable[[Sequence[Write]], None]) -> None:
        taken: list[Write] = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        try:
            commit(taken)
        except BaseException as error:
            for write in taken:
                write.fail(error)
            if not isinstance(error, Exception):  # this thread is being ended: the others hear that nothing was stored
                raise
        finally:
            for write in taken:
                write.settled = True
