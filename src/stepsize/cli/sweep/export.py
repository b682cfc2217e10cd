"""``stepsize sweep export``: the runs of a sweep as a table, as JSON, or in optuna's own tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from stepsize.checks import check_output_path
from stepsize.cli.options import STORE, StoreOption, argument
from stepsize.cli.output import hint, save_table
from stepsize.cli.sweep.run import NameArgument
from stepsize.files import write_whole

NAME = "export"
EXAMPLE = "stepsize sweep export digits-mlp-1a2b3c runs.csv"
_OPTUNA = "optuna"


def command(
    name: NameArgument,
    to: Annotated[str, argument("TO", "FILE.csv, FILE.json, or optuna: its tables in the same database.")],
    *,
    store: StoreOption = STORE,
) -> None:
    """Write the runs of a sweep to a file, or its trials into optuna's tables of the same database."""
    if to != _OPTUNA:
        check_output_path("TO", to, (".csv", ".json"))
    from stepsize.store import Store
    from stepsize.study.sweeping import read_sweep

    with Store.open(store, create=False) as opened:
        found = read_sweep(opened, name)
        if to == _OPTUNA:
            from stepsize.study.export import export_to_optuna

            export_to_optuna(opened, name, found.space)
            hint(f"optuna's dashboard opens it: the storage is {opened.where}, the study {name}.")
            return
    document = found.to_json()
    if to.lower().endswith(".csv"):
        rows: list[dict[str, Any]] = document["runs"]
        save_table(to, list(dict.fromkeys(name for row in rows for name in row)), rows)
    else:
        write_whole(Path(to), (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    hint(f"{len(found.runs)} runs of {name} are in {to}")
