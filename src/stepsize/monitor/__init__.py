"""Watching: signals from any training loop, rules that turn them into findings, and a guard that acts on faults."""

from stepsize.monitor.finding import Finding as Finding
from stepsize.monitor.finding import Rule as Rule
from stepsize.monitor.guarding.action import GuardAction as GuardAction
from stepsize.monitor.guarding.guard import Guard as Guard
from stepsize.monitor.guarding.guard import guard as guard
from stepsize.monitor.logs.diagnose import diagnose as diagnose
from stepsize.monitor.record import Facts as Facts
from stepsize.monitor.record import Record as Record
from stepsize.monitor.report import Report as Report
from stepsize.monitor.task_run import WatchedRun as WatchedRun
from stepsize.monitor.task_run import watch_task as watch_task
from stepsize.monitor.verdict import RateVerdict as RateVerdict
from stepsize.monitor.watching import Watch as Watch
from stepsize.monitor.watching import watch as watch
