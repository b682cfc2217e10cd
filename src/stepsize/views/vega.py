"""altair, loaded when the first chart is drawn; a missing one says how to install it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypeAlias

from stepsize.errors import needing

__all__ = ["Chart", "alt"]

if TYPE_CHECKING:
    import altair as alt
else:

    class _Altair:
        """The module, which is imported when an attribute of it is asked for."""

        def __getattr__(self, name: str) -> Any:
            with needing("plot"):
                return getattr(importlib.import_module("altair"), name)

    alt = _Altair()

Chart: TypeAlias = "alt.LayerChart | alt.VConcatChart"
"""What every chart function returns."""
