"""``stepsize sweep show``: the sweeps of a store, or the answer of one as far as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table

from stepsize.cli.options import STORE, LastOption, StoreOption, argument
from stepsize.cli.output import hint, newest, print_json, show
from stepsize.cli.saved import again
from stepsize.cli.sweep.run import SweepOutput

if TYPE_CHECKING:
    from stepsize.store import Store

NAME = "show"
EXAMPLE = "stepsize sweep show"


def command(
    name: Annotated[str | None, argument("NAME", "Name of the sweep. Default: list all.")] = None,
    *,
    store: StoreOption = STORE,
    last: LastOption = None,
    output: SweepOutput,
) -> None:
    """List the sweeps of a store, or show the answer of one as far as it is; nothing is trained."""
    from stepsize.store import Store

    with Store.open(store, create=False) as opened:
        if name is None:
            _list(opened, last, as_json=output.as_json)
        else:
            from stepsize.study.sweeping import read_sweep, stored_sweep

            curves = output.as_json or (output.plot is not None and output.chart == "curves")
            found = read_sweep(opened, name, curves=curves)
            asked = stored_sweep(opened, name).asked
            if not found.complete and "task" in asked and opened.status(opened.known(name)) != "running":
                output.hint(f"Continue it: {again('sweep resume', name, store)}")
            output.answer(found)


def listed(store: Store) -> list[dict[str, Any]]:
    """Return each sweep of ``store`` as plain values: name, task, status, trials, runs, cost and when it began."""
    from stepsize.store import Tally
    from stepsize.study.outcome import SWEEP

    rows = []
    statuses, tallies = store.statuses(), store.tallies()
    for study in store.studies():
        if study.kind == SWEEP:
            tally = tallies.get(study.name, Tally())
            rows.append(
                {
                    "name": study.name,
                    "task": study.spec["task"]["name"],
                    "status": statuses.get(study.name, study.status),
                    "trials": tally.trials,
                    "runs": tally.runs,
                    "cost": tally.cost,
                    "created": study.created.isoformat(timespec="seconds"),
                }
            )
    return rows


def _list(store: Store, last: int | None, *, as_json: bool) -> None:
    rows = newest(listed(store), last, as_json=as_json)
    if as_json:
        print_json({"store": store.where, "sweeps": rows})
        return
    if not rows:
        hint(f"There is no sweep in {store.where}. Begin one with: stepsize sweep digits-mlp")
        return
    table = Table(title=f"Sweeps in {store.where}", title_justify="left")
    for column in ("name", "task", "status", "trials", "runs", "full runs", "began (UTC)"):
        table.add_column(column, justify="right" if column in ("trials", "runs", "full runs") else "left")
    for row in rows:
        when = row["created"][:16].replace("T", " ")
        cost = f"{row['cost']:.1f}"
        table.add_row(row["name"], row["task"], row["status"], str(row["trials"]), str(row["runs"]), cost, when)
    show(table)
    hint(f"Show one: stepsize sweep show {rows[-1]['name']}")
