"""What about data and model makes the learning rate what it is: measured, and what follows."""

from stepsize.probe.profiling.profile import profile as profile
from stepsize.probe.profiling.result import Advice as Advice
from stepsize.probe.profiling.result import Profile as Profile
from stepsize.probe.profiling.result import ProfileMeasurement as ProfileMeasurement
