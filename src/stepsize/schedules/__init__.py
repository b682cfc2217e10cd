"""Schedules: pure values from step to factor; numpy only."""

from stepsize.schedules.cosine import WarmupCosine as WarmupCosine
from stepsize.schedules.cosine import warmup_cosine as warmup_cosine
from stepsize.schedules.stretch import Stretched as Stretched
from stepsize.schedules.stretch import stretched as stretched
