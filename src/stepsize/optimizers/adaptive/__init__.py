"""Adaptive learning rates, around any optimizer."""

from stepsize.optimizers.adaptive.adaptive import Adaptive as Adaptive
from stepsize.optimizers.adaptive.adaptive import Move as Move
from stepsize.optimizers.adaptive.catalog import RULES as RULES
from stepsize.optimizers.adaptive.catalog import Adapted as Adapted
from stepsize.optimizers.adaptive.catalog import RuleEntry as RuleEntry
from stepsize.optimizers.adaptive.catalog import adapt as adapt
from stepsize.optimizers.adaptive.hypergradient import Hypergradient as Hypergradient
from stepsize.optimizers.adaptive.line_search import LineSearch as LineSearch
from stepsize.optimizers.adaptive.polyak import Polyak as Polyak
from stepsize.optimizers.adaptive.rule import AdaptiveRule as AdaptiveRule
