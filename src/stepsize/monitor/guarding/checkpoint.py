"""The state of a guarded run in a file: whole or absent, and reading it runs no code from it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from stepsize.errors import InputError
from stepsize.files import write_whole
from stepsize.training.snapshot import Snapshot


def save(
    path: Path,
    models: Sequence[nn.Module],
    optimizers: Sequence[Optimizer],
    others: Sequence[Any],
    held: dict[str, Any],
) -> None:
    """Write the state of a run, and plain values with it."""
    state = {
        "models": [one.state_dict() for one in models],
        "optimizers": [one.state_dict() for one in optimizers],
        "others": [one.state_dict() for one in others],
        "kinds": _kinds(optimizers, others),
        "random": torch.get_rng_state(),
        "held": held,
    }
    content = io.BytesIO()
    torch.save(state, content)
    write_whole(path, content.getvalue())


def load(
    path: Path, models: Sequence[nn.Module], optimizers: Sequence[Optimizer], others: Sequence[Any]
) -> dict[str, Any]:
    """Restore a state that :func:`save` wrote, and return the plain values.

    Raises:
        InputError: If it is not such a file, or of another run; then nothing is changed.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        counts = [len(state[name]) for name in ("models", "optimizers", "others")]
        held: dict[str, Any] = state["held"]
    except Exception as error:
        raise InputError("checkpoint", str(path), "must be a checkpoint of a guard") from error
    if counts != [len(models), len(optimizers), len(others)]:
        raise InputError("checkpoint", str(path), "must be of this run, but has other models or optimizers")
    kinds = _kinds(optimizers, others)
    if state["kinds"] != kinds:
        there, here = (", ".join(each) for each in (state["kinds"], kinds))
        raise InputError("checkpoint", str(path), f"must be of this run; it is of {there}, not {here}")
    for model, saved in zip(models, state["models"], strict=True):
        now, then = ({name: tuple(value.shape) for name, value in one.items()} for one in (model.state_dict(), saved))
        if now != then:
            differs = sorted(set(now.items()) ^ set(then.items()))[0][0]
            raise InputError("checkpoint", str(path), f"must be of this model, but {differs} differs")
    before = Snapshot(modules=models, optimizers=optimizers, others=others, spill=True)
    try:
        live = [*models, *optimizers, *others]
        for one, saved in zip(live, [*state["models"], *state["optimizers"], *state["others"]], strict=True):
            one.load_state_dict(saved)
        torch.set_rng_state(state["random"])
    except Exception as error:
        before.restore()
        rule = f"must be of this run, but cannot be loaded: {error}"
        raise InputError("checkpoint", str(path), rule, "Nothing was changed") from error
    return held


def _kinds(optimizers: Sequence[Optimizer], others: Sequence[Any]) -> list[str]:
    return [type(one).__name__ for one in (*optimizers, *others)]
