"""``stepsize schedule``: what a schedule will do, the catalog of schedules, and several side by side."""

from stepsize.cli.commands import command_group
from stepsize.cli.schedule import compare, entries, show

NAME = "schedule"
app = command_group(show, entries, compare, text="Show what a schedule will do, before anything is trained.")
