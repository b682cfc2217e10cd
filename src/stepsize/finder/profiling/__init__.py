"""What about data and model makes the learning rate what it is: measured, and what follows."""

from stepsize.finder.profiling.profile import profile as profile
from stepsize.finder.profiling.result import Advice as Advice
from stepsize.finder.profiling.result import Measured as Measured
from stepsize.finder.profiling.result import Profile as Profile
