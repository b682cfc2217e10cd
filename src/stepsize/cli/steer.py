"""``stepsize steer``: an order to a running training."""

from __future__ import annotations

import getpass
import socket
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from stepsize.cli.failures import FAILED, NO_ANSWER
from stepsize.cli.options import STORE, JsonOption, flag, number, option
from stepsize.cli.output import hint, print_json, show
from stepsize.cli.saved import RunArgument, RunStoreOption, opened_run
from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.store import OrderRecord, Store

NAME = "steer"
EXAMPLE = "stepsize steer my-run --times 0.5"
_WAIT = 5.0  # seconds for the answer of the training
_EVERY = 0.1  # seconds between two looks for it


def command(
    run: RunArgument = None,
    *,
    times: Annotated[float | None, option("X", "Multiply the learning rate.", parser=number)] = None,
    group: Annotated[str | None, option("NAME", "Only this parameter group, with --times.")] = None,
    yes: Annotated[bool, flag("--yes", "Confirm a factor beyond 10 at once.")] = False,
    hold: Annotated[bool, flag("--hold", "Keep the present learning rate.")] = False,
    resume: Annotated[bool, flag("--resume", "Continue along the schedule after --hold.")] = False,
    cooldown: Annotated[int | None, option("N", "Decrease the rate to zero over N steps, then stop.", min=1)] = None,
    extend: Annotated[int | None, option("N", "Add N steps to the horizon.", min=1)] = None,
    undo: Annotated[bool, flag("--undo", "Restore weights and rate before the last change.")] = False,
    snapshot: Annotated[bool, flag("--snapshot", "Save a state in memory, for --undo.")] = False,
    stop: Annotated[bool, flag("--stop", "End training after this update.")] = False,
    store: RunStoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Change the learning rate of a running training, which was started with control=True."""
    numbers = {"cooldown": cooldown, "extend": extend}
    flags = {"hold": hold, "resume": resume, "undo": undo, "snapshot": snapshot, "stop": stop}
    orders: dict[str, dict[str, Any]] = {verb: {"steps": n} for verb, n in numbers.items() if n is not None}
    orders |= {verb: {} for verb, given in flags.items() if given}
    if times is not None:
        orders["scale"] = {"factor": times, "group": group, "confirmed": yes}
    if len(orders) != 1 or ((group is not None or yes) and times is None):
        rule = "must be exactly one of --times, --hold, --resume, --cooldown, --extend, --undo, --snapshot, --stop"
        raise InputError("order", ", ".join(orders) or None, rule, "--group and --yes go with --times")
    [(verb, arguments)] = orders.items()
    with opened_run(store, run) as (opened, name):
        sent = opened.send(name, verb, arguments, who=_who())
        answer = _answer(opened, name, sent)
        where = opened.where
    if as_json:
        print_json({"store": where, "run": name, **answer.to_json()})
    elif answer.state == "sent":
        hint(f"Order {sent} was sent; {name} has not answered within {_WAIT:.0f} seconds. It is carried out later.")
    else:
        style = "green" if answer.state == "applied" else "red"
        when = "" if answer.step is None else f" from step {answer.step:,}"
        show(Text.assemble((f"{answer.state.capitalize()}{when}. ", f"bold {style}"), answer.reply))
    if answer.state != "applied":
        raise typer.Exit(NO_ANSWER if answer.state == "sent" else FAILED)


def _answer(store: Store, name: str, number: int) -> OrderRecord:
    """Return the order when it is answered, or as it is after a while."""
    until = time.monotonic() + _WAIT
    while True:
        [order] = store.orders(name, after=number - 1)[:1]
        if order.state != "sent" or time.monotonic() > until:
            return order
        time.sleep(_EVERY)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without users
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
