"""Charts as HTML that works without a network, also by altair's own ``chart.save("chart.html")``."""

from __future__ import annotations

import io
import json
import os
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from stepsize.files import write_whole
from stepsize.views.vega import alt

Drawn = TypeVar("Drawn")


class _InScript(json.JSONEncoder):
    """JSON that may stand in a page: a name such as ``</script>`` must not end the script that it is in."""

    def encode(self, o: Any) -> str:
        return super().encode(o).replace("<", "\\u003c")


def html_page(chart: Any, style: str) -> str:
    """Return a chart as one page, drawn as SVG: a ``style`` sheet can give it other colors."""
    text = io.StringIO()
    how: dict[str, Any] = {"embed_options": {"renderer": "svg"}, "json_kwds": {"cls": _InScript}}
    alt.TopLevelMixin.save(chart, text, format="html", inline=True, **how)
    return text.getvalue().replace("<style>", f"<style>\n{style}", 1)


def offline(chart: Drawn, style: str) -> Drawn:
    """Return ``chart``, of which ``save`` writes :func:`html_page` unless options say otherwise."""
    base: Any = type(chart)
    object.__setattr__(chart, "__class__", _kind(base, style))  # a chart takes attributes as parts of its spec
    return chart


@cache
def _kind(base: Any, style: str) -> Any:
    """Return a class of charts like ``base``; altair copies a chart by its class."""

    def save(self: Any, fp: Any, format: str | None = None, **options: Any) -> None:  # noqa: A002 - altair's name
        if options or (format or str(fp).lower().rpartition(".")[2]) != "html":
            base.save(self, fp, format, **options)
        elif isinstance(fp, str | os.PathLike):
            write_whole(Path(fp), html_page(self, style).encode())
        else:
            fp.write(html_page(self, style))

    return type(base.__name__, (base,), {"save": save})
