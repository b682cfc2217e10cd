"""A training's state in a file: whole or not at all, and nothing in it is run when it is read."""

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

__all__ = ["load", "save"]


def save(
    path: Path,
    models: Sequence[nn.Module],
    optimizers: Sequence[Optimizer],
    others: Sequence[Any],
    held: dict[str, Any],
) -> None:
    """Write a training's state, and plain values beside it."""
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
    """Put a state that :func:`save` wrote back, and return the plain values.

    Raises:
        InputError: If the file is none, or is of another training; nothing was changed then.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        counts = [len(state[name]) for name in ("models", "optimizers", "others")]
        held: dict[str, Any] = state["held"]
    except Exception as error:
        raise InputError("checkpoint", str(path), "must be a checkpoint of a guard") from error
    if counts != [len(models), len(optimizers), len(others)]:
        raise InputError("checkpoint", str(path), "must be of this training, but has other models or optimizers")
    kinds = _kinds(optimizers, others)
    if state.get("kinds", kinds) != kinds:
        there, here = (", ".join(each) for each in (state["kinds"], kinds))
        raise InputError("checkpoint", str(path), f"must be of this training; it is of {there}, not {here}")
    for one, kept in zip(models, state["models"], strict=True):
        _same(path, one, kept)
    before = Snapshot(modules=models, optimizers=optimizers, others=others, offload=True)
    try:
        for live, kepts in ((models, state["models"]), (optimizers, state["optimizers"]), (others, state["others"])):
            for one, kept in zip(live, kepts, strict=True):
                one.load_state_dict(kept)
        torch.set_rng_state(state["random"])
    except Exception as error:
        before.restore()
        told = f"must be of this training, but cannot be loaded: {error}"
        raise InputError("checkpoint", str(path), told, "Nothing was changed") from error
    return held


def _kinds(optimizers: Sequence[Optimizer], others: Sequence[Any]) -> list[str]:
    return [type(one).__name__ for one in (*optimizers, *others)]


def _same(path: Path, model: nn.Module, kept: dict[str, Any]) -> None:
    now = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    then = {name: tuple(value.shape) for name, value in kept.items()}
    if now != then:
        differs = sorted(set(now.items()) ^ set(then.items()))[0][0]
        raise InputError("checkpoint", str(path), f"must be of this model, but {differs} differs")
