"""What every chart function returns, nameable without loading altair."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Chart"]

Chart: TypeAlias = "alt.LayerChart | alt.VConcatChart"
