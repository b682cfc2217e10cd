"""``stepsize sweep``: train many configurations, show the saved ones, continue them, export them."""

from stepsize.cli.sweep.group import EXAMPLE as EXAMPLE
from stepsize.cli.sweep.group import NAME as NAME
from stepsize.cli.sweep.group import app as app
