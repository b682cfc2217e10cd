"""The finder: range test, critical-rate probe, profile of data and model, and the whole recommendation."""

from stepsize.curves.critical import Critical as Critical
from stepsize.finder.find import find as find
from stepsize.finder.found import Found as Found
from stepsize.finder.on_task import range_test_task as range_test_task
from stepsize.finder.profiling import Advice as Advice
from stepsize.finder.profiling import Measured as Measured
from stepsize.finder.profiling import Profile as Profile
from stepsize.finder.profiling import profile as profile
from stepsize.finder.range_test import RangeTest as RangeTest
from stepsize.finder.range_test import range_test as range_test
