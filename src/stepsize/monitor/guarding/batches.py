"""Batches that can be drawn again, from any source."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any


class Replayable:
    """An iterator over ``source`` that can go back to any batch that is still kept; the first is number ``begin``.

    Example:
        >>> batches = Replayable("abcd")
        >>> next(batches), next(batches)
        ('a', 'b')
        >>> batches.go_back(0)
        >>> batches.skip([1])
        >>> list(batches)
        ['a', 'c', 'd']
    """

    def __init__(self, source: Iterable[Any] = (), begin: int = 0) -> None:
        self._source = iter(source)
        self._kept: deque[Any] = deque()
        self._first = begin  # number of the first one kept
        self._skipped: set[int] = set()
        self.position = begin  # number of the next batch

    def extend(self, source: Iterable[Any]) -> None:
        """Continue with the batches of another epoch; the numbers continue, too."""
        self._source = iter(source)

    def __iter__(self) -> Iterator[Any]:
        """Return itself."""
        return self

    def __next__(self) -> Any:
        """Return the next batch that is not skipped."""
        while True:
            place = self.position - self._first
            if place == len(self._kept):
                self._kept.append(next(self._source))
            self.position += 1
            if self.position - 1 not in self._skipped:
                return self._kept[place]

    def go_back(self, position: int) -> None:
        """Draw from the batch of that number again."""
        if not self._first <= position <= self.position:
            raise IndexError(f"batch {position} is not kept; only {self._first} … {self.position - 1} are")
        self.position = position

    def skip(self, numbers: Iterable[int]) -> None:
        """Leave these batches out from now on."""
        self._skipped.update(numbers)

    def forget(self, before: int) -> None:
        """Drop the batches before that number."""
        while self._first < before and self._kept:
            self._kept.popleft()
            self._first += 1
