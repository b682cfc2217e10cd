"""What is said of each answer after looking at it. Nothing here decides anything."""

from __future__ import annotations

__all__ = ["READ"]

READ: dict[int, str] = {}
