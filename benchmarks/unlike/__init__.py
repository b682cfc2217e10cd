"""Sixteen small real trainings, as unlike each other and the built-in tasks as possible, with their ground truth."""
