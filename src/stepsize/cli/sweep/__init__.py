"""``stepsize sweep``: train many configurations, show the saved ones, continue them, export them."""

from stepsize.cli.commands import command_group
from stepsize.cli.sweep import export, resume, run, show

_TEXT = """Train many configurations, recommend a learning rate and the range that is as good, and say how sure that is.

Each run is saved as it ends: the same command continues where it was stopped, and so does 'resume'.
"""

NAME = "sweep"
app = command_group(run, show, resume, export, text=_TEXT)
