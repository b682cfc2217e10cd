"""``stepsize schedule``: what a schedule will do, the catalog of schedules, and several side by side."""

from stepsize.cli.schedule.group import NAME as NAME
from stepsize.cli.schedule.group import app as app
