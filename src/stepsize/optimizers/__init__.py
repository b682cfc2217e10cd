"""Optimizers: the catalog of names, and what the learning rate means to each."""

from stepsize.optimizers.catalog import OPTIMIZERS as OPTIMIZERS
from stepsize.optimizers.catalog import optimizer_factory as optimizer_factory
from stepsize.optimizers.catalog import optimizer_title as optimizer_title
from stepsize.optimizers.entry import OptimizerEntry as OptimizerEntry
from stepsize.optimizers.muon import MuonAdamW as MuonAdamW
from stepsize.optimizers.translate import Conditions as Conditions
from stepsize.optimizers.translate import Translation as Translation
from stepsize.optimizers.translate import translate as translate
