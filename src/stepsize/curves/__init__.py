"""Numerics on numbers: smoothing, divergence, plateaus, range-test readings, loss against rate, the answer."""
