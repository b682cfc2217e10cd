"""What stepsize knows of an optimizer."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from torch.optim import Optimizer

from stepsize.errors import MissingExtraError

__all__ = ["Momentum", "Needs", "OptimizerEntry", "OptimizerFactory", "Packaged"]

Momentum: TypeAlias = Literal["heavy-ball", "averaged"]
Needs: TypeAlias = Literal["loss", "closure", "eval"]


class OptimizerFactory(Protocol):
    """Builds an optimizer over ``params`` whose groups' rates are proportional to ``lr``."""

    def __call__(self, params: Iterable[Any], lr: float) -> Optimizer: ...


ALGOPERF = "search spaces of AlgoPerf (Dahl et al., 2023), 1e-4 to 1e-2, and a decade around"


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry:
    """What stepsize knows of an optimizer.

    Attributes:
        name: The key in the catalog, in lower case.
        title: What to call it in reports.
        make: Builds it for some parameters and a rate.
        default_lr: The absolute rate that people start from without a search: the constructor's own default, and 0.1
            for the SGD family, where torch's 1e-3 is nobody's practice.
        lr_range: Between which absolute rates to search, on a log scale, where nothing else is known.
        range_source: Who searched there.
        momentum: How past gradients enter. ``"heavy-ball"``: v ← m v + g, so that a steady gradient moves the weights
            by lr / (1 − m) an update. ``"averaged"``: v ← m v + (1 − m) g, which leaves it at lr. None: not at all.
        momentum_default: Its m (β₁ of the Adam family); 0 where there is none.
        decoupled: Whether weight decay multiplies the weights by 1 − lr · decay instead of entering the gradient;
            None where the constructor takes none.
        needs: What ``step`` and evaluation ask for. ``"loss"``: ``step(loss=...)``; ``"closure"``: ``step(closure)``;
            ``"eval"``: ``optimizer.eval()`` before unseen data are judged and ``optimizer.train()`` after.
        one_rate: Whether all groups are meant to have the same rate: with others it raises or warns.
        lr_free: Whether it estimates the rate itself, so that lr is a factor of its estimate, 1 by default.
        memory: Numbers of state a parameter, of a square matrix.
        source: Author, title, year.
        package: From which package it comes.
    """

    name: str
    title: str
    make: OptimizerFactory
    default_lr: float
    lr_range: tuple[float, float]
    range_source: str
    momentum: Momentum | None = None
    momentum_default: float = 0.0
    decoupled: bool | None = None
    needs: frozenset[Needs] = frozenset()
    one_rate: bool = False
    lr_free: bool = False
    memory: float = 0.0
    source: str = ""
    package: str = "torch"

    def effective_lr(self, lr: float, momentum: float | None = None) -> float:
        """Return how far a steady gradient of 1 moves a weight in one update, in units of the optimizer's direction.

        lr / (1 − m) for heavy-ball momentum, lr otherwise.

        Args:
            lr: Absolute.
            momentum: m in [0, 1); default the entry's.

        Example:
            >>> from stepsize.optimizers import optimizer_entry
            >>> round(optimizer_entry("momentum").effective_lr(0.01), 12), optimizer_entry("adam").effective_lr(0.01)
            (0.1, 0.01)
        """
        m = self.momentum_default if momentum is None else momentum
        return lr / (1 - m) if self.momentum == "heavy-ball" else lr


def adam_like(**different: Any) -> OptimizerEntry:
    """Return the entry of a relative of Adam: what most of them share, and what is different."""
    shared: dict[str, Any] = {
        "default_lr": 1e-3,
        "lr_range": (1e-5, 1e-1),
        "range_source": ALGOPERF,
        "momentum": "averaged",
        "momentum_default": 0.9,
        "decoupled": False,
        "memory": 2,
    }
    return OptimizerEntry(**(shared | different))


@dataclass(frozen=True)
class Packaged:
    """A constructor in another package, which is imported on the first call.

    Args:
        package: What pip installs.
        module: Where the class is.
        attribute: Its name.
        options: Further arguments of it.
        rates: Which arguments take the rate.
        keeps: Attributes of the optimizer that belong into its ``state_dict`` and that the package leaves out.
    """

    package: str
    module: str
    attribute: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rates: tuple[str, ...] = ("lr",)
    keeps: tuple[str, ...] = ()

    def __call__(self, params: Iterable[Any], lr: float) -> Optimizer:
        try:
            found = getattr(importlib.import_module(self.module), self.attribute)
        except ImportError as error:
            raise MissingExtraError(self.package, "optimizers") from error
        optimizer: Optimizer = found(params, **dict.fromkeys(self.rates, lr), **self.options)
        if self.keeps:
            _keep(optimizer, self.keeps)
        return optimizer


def _keep(optimizer: Optimizer, names: tuple[str, ...]) -> None:
    """Let the ``state_dict`` of ``optimizer`` hold these attributes too."""

    def write(self: Optimizer, state: dict[str, Any]) -> None:
        state["kept"] = {name: getattr(self, name) for name in names if hasattr(self, name)}

    def read(self: Optimizer, state: dict[str, Any]) -> None:
        for name, value in state.get("kept", {}).items():
            setattr(self, name, value)

    optimizer.register_state_dict_post_hook(write)
    optimizer.register_load_state_dict_pre_hook(read)
