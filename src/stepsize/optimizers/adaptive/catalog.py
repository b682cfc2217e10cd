"""The catalog of rules that adapt the rate: one entry each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch.optim import Optimizer

from stepsize.errors import InputError, UnknownNameError
from stepsize.optimizers.adaptive.adaptive import Adaptive
from stepsize.optimizers.adaptive.greedy import Greedy
from stepsize.optimizers.adaptive.hypergradient import Hypergradient
from stepsize.optimizers.adaptive.line_search import LineSearch
from stepsize.optimizers.adaptive.mechanic import Mechanic
from stepsize.optimizers.adaptive.polyak import Polyak
from stepsize.optimizers.adaptive.rule import Rule
from stepsize.optimizers.catalog import optimizer_entry

__all__ = ["RULES", "Adapted", "RuleEntry", "adapt"]


@dataclass(frozen=True)
class RuleEntry:
    """What adapts a rate.

    Attributes:
        name: The key in the catalog.
        title: What to call it in reports.
        make: Makes the rule; options of its class are taken by keyword.
    """

    name: str
    title: str
    make: Callable[..., Rule]


RULES: dict[str, RuleEntry] = {
    entry.name: entry
    for entry in (
        RuleEntry("hypergradient", "hypergradient, stabilised", partial(Hypergradient, "stable")),
        RuleEntry("hypergradient-additive", "hypergradient, additive", partial(Hypergradient, "additive")),
        RuleEntry(
            "hypergradient-multiplicative",
            "hypergradient, multiplicative",
            partial(Hypergradient, "multiplicative"),
        ),
        RuleEntry("mechanic", "Mechanic", Mechanic),
        RuleEntry("polyak", "Polyak, SPS-max", partial(Polyak, "sps-max")),
        RuleEntry("polyak-estimated", "Polyak, SPS-max, estimated target", partial(Polyak, target="estimated")),
        RuleEntry("polyak-sps", "Polyak, SPS", partial(Polyak, "sps")),
        RuleEntry("polyak-decaying", "Polyak, DecSPS", partial(Polyak, "decsps")),
        RuleEntry("ali-g", "Polyak, ALI-G", partial(Polyak, "ali-g")),
        RuleEntry("greedy", "greedy, by the loss's progress", Greedy),
        RuleEntry("line-search", "Armijo line search", LineSearch),
    )
}


def adapt(
    optimizer: Optimizer, rule: str | Rule = "polyak", *, bounds: tuple[float, float] = (1e-6, 1e6), **options: Any
) -> Adaptive:
    """Return ``optimizer`` with a rate that adapts by itself: lr_t = s_t · group["lr"], s_t from the rule.

    Args:
        optimizer: Any torch optimizer; use what is returned in its place, also for schedulers.
        rule: A name of :data:`RULES`, or a rule.
        bounds: The least and the largest s.
        options: Of the rule's class, where it is given by name.

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
    if isinstance(rule, Rule):
        if options:
            raise InputError("options", sorted(options), "are for a rule that is given by its name")
        return Adaptive(optimizer, rule, bounds=bounds)
    if rule not in RULES:
        raise UnknownNameError("rule", rule, RULES)
    try:
        made = RULES[rule].make(**options)
    except TypeError as error:
        raise InputError("options", sorted(options), f"must be options of the rule '{rule}': {error}") from error
    return Adaptive(optimizer, made, bounds=bounds)


@dataclass(frozen=True)
class Adapted:
    """A factory of adapting optimizers, for a task's ``optimizer``.

    Args:
        optimizer: A name of the catalog, or ``f(params, lr)``.
        rule: A name of :data:`RULES`.
        options: Of the rule.

    Example:
        >>> import torch
        >>> Adapted("adamw", "mechanic")([torch.nn.Parameter(torch.ones(2))], 1e-3).rates
        [0.001]
    """

    optimizer: str | Callable[[Iterable[Any], float], Optimizer]
    rule: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UnknownNameError("rule", self.rule, RULES)
        if isinstance(self.optimizer, str):
            optimizer_entry(self.optimizer)

    @property
    def __name__(self) -> str:
        base = optimizer_entry(self.optimizer).title if isinstance(self.optimizer, str) else "optimizer"
        return f"{base} by {RULES[self.rule].title}"

    def __call__(self, params: Iterable[Any], lr: float) -> Adaptive:
        make = optimizer_entry(self.optimizer).make if isinstance(self.optimizer, str) else self.optimizer
        return adapt(make(params, lr), self.rule, **self.options)
