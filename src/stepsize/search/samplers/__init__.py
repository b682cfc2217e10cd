"""Samplers: where in a space the next trial lies; each a pure function of what was seen and a seed."""

from stepsize.search.samplers.catalog import SAMPLERS as SAMPLERS
from stepsize.search.samplers.catalog import SamplerEntry as SamplerEntry
from stepsize.search.samplers.catalog import sampler_entry as sampler_entry
from stepsize.search.samplers.protocol import Sampler as Sampler
