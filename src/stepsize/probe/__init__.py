"""Probes: range test, critical rate, and the profile of data and model: what is measured in a loop of one's own."""

from stepsize.curves.critical import Critical as Critical
from stepsize.probe.on_task import range_test_task as range_test_task
from stepsize.probe.profiling import Advice as Advice
from stepsize.probe.profiling import Measured as Measured
from stepsize.probe.profiling import Profile as Profile
from stepsize.probe.profiling import profile as profile
from stepsize.probe.range_test import RangeTest as RangeTest
from stepsize.probe.range_test import range_test as range_test
