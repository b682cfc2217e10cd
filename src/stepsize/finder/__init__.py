"""The finder: range test, critical-rate probe, and the whole recommendation."""

from stepsize.finder.critical import Critical as Critical
from stepsize.finder.range_test import RangeTest as RangeTest
from stepsize.finder.range_test import range_test as range_test
