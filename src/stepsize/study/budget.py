"""What a search may spend: full runs, or wall time."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from stepsize.errors import InputError

_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_WRITTEN = re.compile(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*([a-z]*)\s*")
_RULE = "must be a positive number of full runs, or a time such as '90s', '10min' or '2h'"


@dataclass(frozen=True)
class Budget:
    """A limit on a search in full runs and seconds; with ``either`` it may go on while one of the two is left."""

    runs: float = math.inf
    seconds: float = math.inf
    either: bool = False

    def __str__(self) -> str:
        runs = f"{self.runs:.3g} full run{'s' * (self.runs != 1)}"
        if math.isinf(self.seconds):
            return runs
        seconds = f"{self.seconds / 60:.3g} min" if self.seconds >= 60 else f"{self.seconds:.3g} s"
        return seconds if math.isinf(self.runs) else f"{runs} or {seconds}"


_DEFAULT = Budget(3.0, 60.0, either=True)


def as_budget(given: float | str | None) -> Budget:
    """Return the budget that was asked for: full runs as a number (also written), or a time such as ``"10min"``.

    None allows three full runs or one minute, whichever is more. Raises InputError if it is neither.

    Example:
        >>> str(as_budget("10min")), str(as_budget("3")), str(as_budget(None))
        ('10 min', '3 full runs', '3 full runs or 1 min')
    """
    if given is None:
        return _DEFAULT
    if isinstance(given, str):
        match = _WRITTEN.fullmatch(given.lower())
        try:
            number, unit = (float(match[1]), match[2]) if match else (math.nan, "")
        except ValueError:
            number, unit = math.nan, ""
        if unit in _UNITS and 0 < number * _UNITS[unit] < math.inf:
            return Budget(seconds=number * _UNITS[unit])
        if unit not in ("", "runs", "run", "x") or not 0 < number < math.inf:
            raise InputError("budget", given, _RULE)
        return Budget(number)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise InputError("budget", given, _RULE)
    return Budget(float(given))
