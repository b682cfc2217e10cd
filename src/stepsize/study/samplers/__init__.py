"""Samplers: where in a space the next trial lies; each a pure function of what was seen and a seed."""

from stepsize.study.samplers.catalog import SAMPLERS as SAMPLERS
from stepsize.study.samplers.catalog import SamplerEntry as SamplerEntry
from stepsize.study.samplers.drawn import Sampler as Sampler
