"""Charts into files: PNG, SVG, PDF and self-contained HTML, without a browser and without a network."""

from __future__ import annotations

import io
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stepsize.checks import check_output_path
from stepsize.errors import MissingExtraError, needing
from stepsize.files import write_whole
from stepsize.views.offline import html_page
from stepsize.views.theme import dark_style
from stepsize.views.vega import alt

PLOT_SUFFIXES = (".png", ".svg", ".html", ".pdf")

_PNG_SCALE = 2


def check_plot_path(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` with links resolved if a chart can be written there; meant to be asked before any training.

    Raises:
        MissingExtraError: If the packages that draw charts are not installed.
        InputError: If the suffix is unknown, the folder is missing or closed to writing, or ``path`` is a folder.

    Example:
        >>> check_plot_path("lr.jpg")
        Traceback (most recent call last):
            ...
        stepsize.errors.InputError: plot must end in .png, .svg, .html or .pdf; got 'lr.jpg'. Name it 'lr.png'
    """
    for package in ("altair", "vl_convert"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "plot")
    return check_output_path("plot", path, PLOT_SUFFIXES)


def save_chart(chart: alt.TopLevelMixin, path: str | os.PathLike[str]) -> Path:
    """Write ``chart`` in the format that the suffix of ``path`` names, and return where.

    The whole file is made in memory, written beside its place and moved there in one go. HTML carries its scripts
    within itself.

    Raises:
        MissingExtraError: If the packages that draw charts are not installed.
        InputError: If nothing can be written at ``path``.
    """
    target = check_plot_path(path)
    content = _rendered(chart, target.suffix.lower().lstrip("."))
    write_whole(target, content)
    return target


def vega_script() -> bytes:
    """Return the script that draws charts in a page, as ``vegaEmbed``: it comes with vl-convert, without a network.

    Raises:
        MissingExtraError: If the packages that draw charts are not installed.
    """
    with needing("plot"):
        import vl_convert
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.encode()


def _rendered(chart: Any, kind: str) -> bytes:
    if kind in ("png", "pdf"):
        data = io.BytesIO()
        how: dict[str, Any] = {"scale_factor": _PNG_SCALE} if kind == "png" else {}
        chart.save(data, format=kind, **how)
        return data.getvalue()
    if kind == "html":
        return html_page(chart, dark_style()).encode()
    text = io.StringIO()
    chart.save(text, format="svg")
    return text.getvalue().encode()
