"""The catalog of rules that adapt the rate: one entry each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch.optim import Optimizer

from stepsize.catalog import Catalog
from stepsize.errors import InputError
from stepsize.optimizers.adaptive.adaptive import Adaptive
from stepsize.optimizers.adaptive.hypergradient import Hypergradient
from stepsize.optimizers.adaptive.line_search import LineSearch
from stepsize.optimizers.adaptive.polyak import Polyak
from stepsize.optimizers.adaptive.rule import AdaptiveRule
from stepsize.optimizers.catalog import optimizer_factory, optimizer_title


@dataclass(frozen=True)
class RuleEntry:
    """A rule: its key in the catalog, its name in reports, and what makes it (options by keyword)."""

    name: str
    title: str
    make: Callable[..., AdaptiveRule]


RULES: Catalog[RuleEntry] = Catalog(
    "rule",
    (
        RuleEntry("hypergradient", "hypergradient, stabilized", Hypergradient),
        RuleEntry("polyak", "Polyak, SPS-max", partial(Polyak, "sps-max")),
        RuleEntry("polyak-estimated", "Polyak, SPS-max, estimated target", partial(Polyak, target="estimated")),
        RuleEntry("polyak-decaying", "Polyak, DecSPS", partial(Polyak, "decsps")),
        RuleEntry("line-search", "Armijo line search", LineSearch),
    ),
)


def adapt(
    optimizer: Optimizer,
    rule: str | AdaptiveRule = "polyak",
    *,
    bounds: tuple[float, float] = (1e-6, 1e6),
    **options: Any,
) -> Adaptive:
    """Return ``optimizer`` with an adaptive learning rate: lr_t = s_t · group["lr"], with s_t from the rule.

    Args:
        optimizer: Any torch optimizer. Use the returned one in its place, also for schedulers.
        rule: Name of a rule in :data:`RULES`, or a rule.
        bounds: Smallest and largest s.
        options: Options of the rule's class, if it is given by name.

    Returns:
        The adapting optimizer; ``rates`` are the effective ones and ``moves`` say why.

    Raises:
        UnknownNameError: If the rule is not known.
        InputError: If an argument breaks its rule.

    Example:
        >>> import torch, stepsize
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = stepsize.adapt(torch.optim.SGD(model.parameters(), lr=1e-5), "polyak")
        >>> x, y = torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor([[1.0], [2.0]])
        >>> for _ in range(100):
        ...     loss = torch.nn.functional.mse_loss(model(x), y)
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     _ = optimizer.step(loss=loss)
        >>> loss.item() < 1e-3
        True
    """
    if isinstance(rule, AdaptiveRule):
        if options:
            raise InputError("options", sorted(options), "are for a rule that is given by its name")
        return Adaptive(optimizer, rule, bounds=bounds)
    entry = RULES[rule]
    try:
        made = entry.make(**options)
    except TypeError as error:
        raise InputError("options", sorted(options), f"must be options of the rule '{rule}': {error}") from error
    return Adaptive(optimizer, made, bounds=bounds)


@dataclass(frozen=True)
class Adapted:
    """A factory of optimizers with an adaptive rate, for a task's ``optimizer``.

    Args:
        optimizer: A name of the catalog, or ``f(params, lr)``.
        rule: Name of a rule in :data:`RULES`.
        options: Options of the rule.

    Example:
        >>> import torch
        >>> Adapted("adamw", "hypergradient")([torch.nn.Parameter(torch.ones(2))], 1e-3).rates
        [0.001]
    """

    optimizer: str | Callable[[Iterable[Any], float], Optimizer]
    rule: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        optimizer_factory(self.optimizer)
        RULES[self.rule]

    @property
    def __name__(self) -> str:
        return f"{optimizer_title(self.optimizer)} by {RULES[self.rule].title}"

    def __call__(self, params: Iterable[Any], lr: float) -> Adaptive:
        return adapt(optimizer_factory(self.optimizer)(params, lr), self.rule, **self.options)
