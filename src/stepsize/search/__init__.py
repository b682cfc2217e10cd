"""Search: sweeps over the rate and what goes with it, on one machine or many, resumable at any moment."""

from stepsize.search.comparing import CLASSICS as CLASSICS
from stepsize.search.comparing import CompareProgress as CompareProgress
from stepsize.search.comparing import compare as compare
from stepsize.search.comparison import Comparison as Comparison
from stepsize.search.comparison import Contender as Contender
from stepsize.search.comparison import Round as Round
from stepsize.search.comparison import Standing as Standing
from stepsize.search.crew import WORKERS as WORKERS
from stepsize.search.jobs import Job as Job
from stepsize.search.jobs import Outcome as Outcome
from stepsize.search.jobs import Trial as Trial
from stepsize.search.result import SweepResult as SweepResult
from stepsize.search.rungs import RUNGS as RUNGS
from stepsize.search.rungs import Rungs as Rungs
from stepsize.search.samplers.catalog import SAMPLERS as SAMPLERS
from stepsize.search.space import Space as Space
from stepsize.search.space import as_space as as_space
from stepsize.search.sweeping import SweepProgress as SweepProgress
from stepsize.search.sweeping import sweep as sweep
from stepsize.search.workers import Local as Local
from stepsize.search.workers import Workers as Workers
