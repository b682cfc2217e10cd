"""Numerics on numbers: smoothing, divergence, plateaus, range-test readings, fits of the lr curve, intervals."""

from stepsize.curves.divergence import DivergenceRule as DivergenceRule
from stepsize.curves.plateau import PlateauDecision as PlateauDecision
from stepsize.curves.plateau import PlateauRule as PlateauRule
from stepsize.curves.range_reading import RangeReading as RangeReading
from stepsize.curves.range_reading import suggest as suggest
from stepsize.curves.smoothing import Smooth as Smooth
from stepsize.curves.smoothing import smooth as smooth
from stepsize.curves.verdict import Verdict as Verdict
