"""Population training: K runs of one task as stacked tensors, each with its own rates, in one process."""

from stepsize.training.population.following import Decision as Decision
from stepsize.training.population.following import Followed as Followed
from stepsize.training.population.following import follow as follow
from stepsize.training.population.forking import Counterfactual as Counterfactual
from stepsize.training.population.forking import counterfactual as counterfactual
from stepsize.training.population.population import Population as Population
from stepsize.training.population.stacked import StackedOptimizer as StackedOptimizer
from stepsize.training.population.stacked import stack_optimizers as stack_optimizers
