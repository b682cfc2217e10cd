"""``stepsize sweep``: train many configurations, show the saved ones, continue them, export them."""

from stepsize.cli.commands import command_group
from stepsize.cli.sweep import export, resume, run, show

NAME = "sweep"
app = command_group(run, show, resume, export, text=run.command.__doc__ or "")
