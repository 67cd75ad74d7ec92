"""The log: what went wrong and where, without what people asked and said."""

import logging
import traceback
from types import TracebackType

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_Caught = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class WithoutText(logging.Formatter):
    """Leaves the messages out of tracebacks: an error in the middle of a prompt may quote it. Types and places stay."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the places of the error. What another handler's formatter made of it is not taken over."""
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = kept

    def formatException(self, ei: _Caught) -> str:
        """The chain of causes, outermost last."""
        parts: list[str] = []
        error = ei[1]
        while error is not None:
            frames = "".join(traceback.format_tb(error.__traceback__)).rstrip()
            parts.append(f"{frames}\n{type(error).__name__} (serve.log_text logs what it says)".lstrip())
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nthen\n".join(reversed(parts))


def start(log_text: bool) -> None:
    """Logging of the process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT) if log_text else WithoutText(FORMAT))
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each write to a client that has just gone
    logging.basicConfig(level=logging.INFO, handlers=[handler])
