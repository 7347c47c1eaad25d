"""What an authorizer says: yes, no, or nothing; and why."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ALLOWED", "NO_OPINION", "Decision"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Neither allowed nor denied: no opinion, and the next authorizer is asked."""

    allowed: bool = False
    denied: bool = False
    reason: str = ""
    error: str = ""
    """Why it could not be decided well; for the eyes of whoever reviews access."""


ALLOWED = Decision(allowed=True)
NO_OPINION = Decision()
