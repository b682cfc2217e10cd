"""``stepsize diagnose``: what a log of any tool says about the learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepsize.cli.diagnosis import check_page_path, findings_text, save_page
from stepsize.cli.failures import reporting_failures
from stepsize.cli.options import JsonOption
from stepsize.cli.output import print_json, show

NAME = "diagnose"
EXAMPLE = "stepsize diagnose log.csv --steps 2000"


def command(
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="CSV, JSON, text, TensorBoard, W&B or MLflow; or its folder.")
    ],
    *,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, help="Number of planned training steps.")
    ] = None,
    loss: Annotated[str | None, typer.Option("--loss", metavar="NAME", help="Column of the training loss.")] = None,
    lr: Annotated[str | None, typer.Option("--lr", metavar="NAME", help="Column of the learning rate.")] = None,
    val: Annotated[str | None, typer.Option("--val", metavar="NAME", help="Column of the validation loss.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PATH", help="Write the report as an HTML page.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Diagnose a run from its log of losses and learning rates."""
    with reporting_failures():
        from stepsize.monitor import diagnose

        page = None if html is None else check_page_path(html)
        report = diagnose(log, steps=steps, loss=loss, lr=lr, val=val)
        if as_json:
            print_json(report.to_json())
        else:
            show(findings_text(report))
        if page is not None:
            save_page(report, page, log.name)
