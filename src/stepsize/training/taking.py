"""The parts of a Lightning training as separate arguments of a function that takes a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from itertools import takewhile
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from torch import Tensor

from stepsize.training.from_trainers import is_lightning, is_lightning_trainer

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
_KEYWORDS = ("data", "datamodule", "train_dataloaders", "val_dataloaders", "trainer")


class _Module(Protocol):
    """What type checkers take for a LightningModule."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any: ...

    def configure_optimizers(self) -> Any: ...


class TakesParts(Protocol[P, R_co]):
    """A function of a task, and of the parts of a Lightning training."""

    @overload
    def __call__(self, *given: P.args, **options: P.kwargs) -> R_co: ...

    @overload
    def __call__(self, module: _Module, /, *parts: Any, **options: Any) -> R_co: ...


def takes_parts(function: Callable[P, R]) -> TakesParts[P, R]:
    """Return ``function``, whose first argument is a task, so that it also takes the parts of a Lightning training.

    Module, data (or loader and validation loader) and trainer can come in any order, and by the keywords of Lightning.
    """

    @wraps(function)
    def called(*given: Any, **options: Any) -> R:
        parts = list(takewhile(_is_part, given))
        places = len(parts)
        if not any(is_lightning(part) and not isinstance(part, tuple) for part in parts):
            return function(*given, **options)
        parts += [options.pop(name) for name in _KEYWORDS if name in options]
        return function(tuple(parts), *given[places:], **options)  # type: ignore[call-arg, arg-type, unused-ignore]

    return called


def _is_part(given: Any) -> bool:
    return is_lightning(given) or is_lightning_trainer(given) or _is_data(given)


def _is_data(given: Any) -> bool:
    if hasattr(given, "train_dataloader"):
        return True
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping | Tensor):
        return False
    return not (isinstance(given, list | tuple) and (not given or isinstance(given[0], str | int | float)))
