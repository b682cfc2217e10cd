"""The state of a guarded run in a file: whole or absent, and reading it runs no code from it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stepsize.errors import InputError
from stepsize.files import write_whole
from stepsize.training.snapshot import Snapshot


def save(path: Path, live: Sequence[Any], progress: dict[str, Any]) -> None:
    """Write the states of models, optimizers and other objects, and plain values with them."""
    content = io.BytesIO()
    states = [one.state_dict() for one in live]
    torch.save(
        {"kinds": _kinds(live), "states": states, "random": torch.get_rng_state(), "progress": progress}, content
    )
    write_whole(path, content.getvalue())


def load(path: Path, live: Sequence[Any], before: Snapshot) -> dict[str, Any]:
    """Restore the states that :func:`save` wrote, and return the plain values.

    Raises:
        InputError: If it is not such a file, or of another run; then everything is as ``before``.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        kinds, states, progress = list(state["kinds"]), list(state["states"]), dict(state["progress"])
    except Exception as error:
        raise InputError("checkpoint", str(path), "must be a checkpoint of a guard") from error
    if kinds != _kinds(live):
        there, here = ", ".join(kinds), ", ".join(_kinds(live))
        raise InputError("checkpoint", str(path), f"must be of this run; it is of {there}, not {here}")
    try:
        for one, saved in zip(live, states, strict=True):
            one.load_state_dict(saved)
        torch.set_rng_state(state["random"])
    except Exception as error:
        before.restore()
        rule = f"must be of this run, but cannot be loaded: {' '.join(str(error).split())}"
        raise InputError("checkpoint", str(path), rule, "Nothing was changed") from error
    return progress


def _kinds(live: Sequence[Any]) -> list[str]:
    return [type(one).__name__ for one in live]
