"""``stepsize sweep``: train many settings, look at what was kept, go on with it, take it elsewhere."""

from stepsize.cli.sweep.group import EXAMPLE as EXAMPLE
from stepsize.cli.sweep.group import NAME as NAME
from stepsize.cli.sweep.group import app as app
