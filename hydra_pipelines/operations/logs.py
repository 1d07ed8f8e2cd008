"""What a part writes, kept in one file a part: with the time, without colours, and bounded."""

from __future__ import annotations

import logging
import logging.handlers
import re
import time
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_TROUBLE = re.compile(r"\b(ERROR|CRITICAL)\b|^Traceback \(most recent call last\)")


class PartLog:
    """The rotated log file of one part. Never raises: a full disk must not end what is logged."""

    def __init__(self, path: Path, max_bytes: int, files: int):
        """files: how many there are at most, the one in use among them."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=max_bytes, backupCount=files - 1, encoding="utf-8", delay=True
        )
        formatter = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        handler.handleError = lambda record: None  # type: ignore[method-assign]
        self._handler = handler

    def write(self, line: str) -> str:
        """Keep a line; returns it as it was kept, without the time."""
        plain = _ESCAPES.sub("", line).rstrip()
        self._handler.handle(logging.LogRecord("part", logging.INFO, "", 0, plain, None, None))
        return plain

    def close(self) -> None:
        self._handler.close()


def is_trouble(line: str) -> bool:
    """Whether a line of a part's log is one that a person at the terminal should see."""
    return _TROUBLE.search(line) is not None
