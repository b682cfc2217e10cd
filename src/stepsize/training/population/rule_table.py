"""Which optimizers have a stacked form."""

from __future__ import annotations

from torch.optim import Optimizer

from stepsize.training.population.more_rules import MORE_RULES, NAMED_RULES
from stepsize.training.population.rules import RULES, Rule

__all__ = ["find_rule", "stackable"]


def find_rule(kind: type[Optimizer]) -> Rule | None:
    """Return the rule of a class, None where it has none; a subclass may update otherwise, so it has none."""
    rule = RULES.get(kind) or MORE_RULES.get(kind)
    return rule or NAMED_RULES.get(f"{kind.__module__}.{kind.__qualname__}")


def stackable() -> list[str]:
    """Return the names of the classes that have a rule."""
    return [kind.__name__ for kind in (*RULES, *MORE_RULES)] + [name.rpartition(".")[2] for name in NAMED_RULES]
