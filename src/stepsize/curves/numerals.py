"""Numbers and sentences as charts and verdicts write them."""

from __future__ import annotations

import math
import textwrap


def number_text(value: float, digits: int = 3) -> str:
    """Return ``value`` with at most ``digits`` significant digits and no zeros that say nothing.

    Magnitudes in [0.001, 10000) are written out, others with an exponent.

    Example:
        >>> [number_text(x) for x in (1e-4, 0.00123456, 0.001, 0.5, 30.0, 123456.0, 0.0, float("nan"))]
        ['1e-4', '0.00123', '0.001', '0.5', '30', '1.23e5', '0', 'nan']
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(float(value))
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = int(exponent)  # after rounding, so that 0.00099996 is 0.001
    if -3 <= power < 4:
        text = f"{float(f'{mantissa}e{exponent}'):.{max(0, digits - 1 - power)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{power}"


def span_text(interval: tuple[float, float]) -> str:
    """Return an interval of learning rates in words: ``"1e-4 to 0.002"``."""
    return f"{number_text(interval[0])} to {number_text(interval[1])}"


def wrapped(*sentences: str, columns: int = 116) -> tuple[str, ...]:
    """Return the lines that ``sentences`` fill, each beginning on a line of its own; empty ones are left out."""
    return tuple(line for sentence in sentences if sentence for line in textwrap.wrap(sentence, columns))
