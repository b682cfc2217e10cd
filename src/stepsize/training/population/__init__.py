"""Several runs of one task in one process: vectorized, or as forks of one run."""

from stepsize.training.population.forking import Branch as Branch
from stepsize.training.population.forking import Counterfactual as Counterfactual
from stepsize.training.population.forking import counterfactual as counterfactual
from stepsize.training.population.population import Population as Population
from stepsize.training.population.stacked import StackedOptimizer as StackedOptimizer
from stepsize.training.population.stacked import stack_optimizers as stack_optimizers
