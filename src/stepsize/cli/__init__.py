"""The command line: one file a command, each a thin call of one library verb."""

from stepsize.cli.app import main as main
