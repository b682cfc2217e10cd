"""Probes: range test, critical rate, and the profile of data and model."""

from stepsize.curves.critical import Critical as Critical
from stepsize.probe.profiling import Advice as Advice
from stepsize.probe.profiling import Profile as Profile
from stepsize.probe.profiling import ProfileMeasurement as ProfileMeasurement
from stepsize.probe.profiling import profile as profile
from stepsize.probe.range_test import RangeTest as RangeTest
from stepsize.probe.range_test import range_test as range_test
