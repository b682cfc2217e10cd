"""``stepsize diagnose``: what a log of any tool says about the learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from stepsize.cli.diagnosis import check_page_path, findings_text, save_page
from stepsize.cli.options import HtmlOption, JsonOption, argument, option
from stepsize.cli.output import give

NAME = "diagnose"
EXAMPLE = "stepsize diagnose log.csv --steps 2000"


def command(
    log: Annotated[Path, argument("LOG", "CSV, JSON, text, TensorBoard, W&B or MLflow; or its folder.")],
    *,
    steps: Annotated[int | None, option("N", "Number of planned training steps.", min=1)] = None,
    loss: Annotated[str | None, option("NAME", "Column of the training loss.")] = None,
    lr: Annotated[str | None, option("NAME", "Column of the learning rate.")] = None,
    val: Annotated[str | None, option("NAME", "Column of the validation loss.")] = None,
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Diagnose a run from its log of losses and learning rates."""
    from stepsize.monitor import diagnose

    check_page_path(html)
    report = diagnose(log, steps=steps, loss=loss, lr=lr, val=val)
    give(report.to_json, lambda: findings_text(report), as_json=as_json)
    save_page(report, html, log.name)
