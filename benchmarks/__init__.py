"""What stepsize is measured by: ground truth, other tools, regret. Run as ``python -m benchmarks``."""
