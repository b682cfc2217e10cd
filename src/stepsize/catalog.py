"""A catalog: entries by name, with an error that suggests the nearest name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from stepsize.errors import UnknownNameError


class Named(Protocol):
    """An entry of a catalog."""

    @property
    def name(self) -> str: ...


_E = TypeVar("_E", bound=Named)


class Catalog(dict[str, _E]):
    """Entries by name, in their order; ``catalog[name]`` raises UnknownNameError for a name that it does not hold.

    Args:
        argument: What a name in it is the value of, for the error message.
        entries: The entries.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Fruit:
        ...     name: str
        >>> Catalog("fruit", [Fruit("apple"), Fruit("pear")])["peer"]
        Traceback (most recent call last):
        stepsize.errors.UnknownNameError: fruit is not a known name; got 'peer'. Did you mean 'pear'? Known: apple, pear
    """

    def __init__(self, argument: str, entries: Iterable[_E]) -> None:
        super().__init__((entry.name, entry) for entry in entries)
        self.argument = argument

    def __missing__(self, name: Any) -> _E:
        raise UnknownNameError(self.argument, name, self)
