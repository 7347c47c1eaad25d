"""Structured logs: a constant message and keys.

``log = get_logger("scheduler"); log.info("pod bound", pod="default/web", node="n1")`` prints
``I 12:00:00.123 scheduler pod bound pod=default/web node=n1``. Secrets never go into a key's value.
"""

from __future__ import annotations

import logging
import sys
from typing import Any


class Logger:
    """A thin cover of ``logging`` that takes keys instead of format strings."""

    __slots__ = ("_logger", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger = logging.getLogger(f"knarr.{name}")

    def _emit(self, level: int, message: str, keys: dict[str, Any], *, trace: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            tail = "".join(f" {key}={_quote(value)}" for key, value in keys.items())
            self._logger.log(level, "%s %s%s", self._name, message, tail, exc_info=trace)

    def debug(self, message: str, **keys: Any) -> None:
        self._emit(logging.DEBUG, message, keys)

    def info(self, message: str, **keys: Any) -> None:
        self._emit(logging.INFO, message, keys)

    def warning(self, message: str, **keys: Any) -> None:
        self._emit(logging.WARNING, message, keys)

    def error(self, message: str, **keys: Any) -> None:
        self._emit(logging.ERROR, message, keys)

    def exception(self, message: str, **keys: Any) -> None:
        """An error with the current exception's trace."""
        self._emit(logging.ERROR, message, keys, trace=True)


def get_logger(name: str) -> Logger:
    return Logger(name)


def configure(level: int = logging.INFO) -> None:
    """Send Knarr's logs to standard error; called once by a process's entry point."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(levelname).1s %(asctime)s.%(msecs)03d %(message)s", "%m-%d %H:%M:%S")
    )
    root = logging.getLogger("knarr")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False


def _quote(value: Any) -> str:
    text = str(value)
    return repr(text) if " " in text or "\n" in text or not text else text
