"""What stepsize knows of an optimizer."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch.optim import Optimizer

from stepsize.errors import MissingExtraError

ALGOPERF = "search spaces of AlgoPerf (Dahl et al., 2023), 1e-4 to 1e-2, and a decade around"


class OptimizerFactory(Protocol):
    """Builds an optimizer over ``params`` whose groups' rates are proportional to ``lr``."""

    def __call__(self, params: Iterable[Any], lr: float) -> Optimizer: ...


@dataclass(frozen=True)
class OptimizerEntry:
    """What stepsize knows of an optimizer.

    Attributes:
        name: Key in the catalog, in lower case.
        title: Name in reports.
        make: Builds it for some parameters and a rate.
        default_lr: Usual absolute rate without a search: the default of the constructor, and 0.1 for the SGD family
            (torch's 1e-3 is not used in practice).
        lr_range: Absolute rates to search, on a log scale, if nothing else is known.
        range_source: Who searched there.
        momentum: How past gradients enter. ``"heavy-ball"``: v ← m v + g, so a steady gradient moves the weights
            by lr / (1 − m) per update. ``"averaged"``: v ← m v + (1 − m) g, which leaves it at lr. None: not at all.
        momentum_default: Its m (β₁ of Adam-type optimizers); 0 without momentum.
        lr_free: Whether it estimates the rate itself, so that lr is a factor of its estimate, 1 by default.
        source: Author, title, year.
        like: Optimizer whose curves of loss against rate are like its own; default itself.
    """

    name: str
    title: str
    make: OptimizerFactory
    default_lr: float
    lr_range: tuple[float, float]
    range_source: str
    momentum: Literal["heavy-ball", "averaged"] | None = None
    momentum_default: float = 0.0
    lr_free: bool = field(default=False, kw_only=True)
    source: str = field(default="", kw_only=True)
    like: str = field(default="", kw_only=True)

    @property
    def kind(self) -> str:
        """The name of the class that it builds."""
        if isinstance(self.make, Packaged):
            return self.make.attribute
        return str(getattr(getattr(self.make, "func", self.make), "__name__", ""))

    @property
    def family(self) -> str:
        """The name under which the record of curves has it."""
        return self.like or self.name

    @property
    def package(self) -> str:
        """The package that it comes from."""
        return self.make.package if isinstance(self.make, Packaged) else "torch"

    def effective_lr(self, lr: float, momentum: float | None = None) -> float:
        """Return how far a steady gradient of 1 moves a weight in one update, in units of the optimizer's direction.

        lr / (1 − m) for heavy-ball momentum, lr otherwise.

        Args:
            lr: Absolute rate.
            momentum: m in [0, 1); default the entry's.

        Example:
            >>> from stepsize.optimizers import OPTIMIZERS
            >>> round(OPTIMIZERS["momentum"].effective_lr(0.01), 12), OPTIMIZERS["adam"].effective_lr(0.01)
            (0.1, 0.01)
        """
        m = self.momentum_default if momentum is None else momentum
        return lr / (1 - m) if self.momentum == "heavy-ball" else lr


def adam_like(name: str, title: str, make: OptimizerFactory, **different: Any) -> OptimizerEntry:
    """Return the entry of an Adam-type optimizer: what most of them share, and what is different."""
    shared: dict[str, Any] = {
        "default_lr": 1e-3,
        "lr_range": (1e-5, 1e-1),
        "range_source": ALGOPERF,
        "momentum": "averaged",
        "momentum_default": 0.9,
        "like": "adam",
    }
    return OptimizerEntry(name, title, make, **(shared | different))


@dataclass(frozen=True)
class Packaged:
    """A constructor in another package, which is imported on the first call."""

    package: str  # what pip installs
    module: str
    attribute: str  # the class
    options: Mapping[str, Any] = field(default_factory=dict)  # further arguments
    rates: tuple[str, ...] = ("lr",)  # arguments that take the rate

    def __call__(self, params: Iterable[Any], lr: float) -> Optimizer:
        try:
            found = getattr(importlib.import_module(self.module), self.attribute)
        except ImportError as error:
            raise MissingExtraError(self.package, "optimizers") from error
        optimizer: Optimizer = found(params, **dict.fromkeys(self.rates, lr), **self.options)
        return optimizer
