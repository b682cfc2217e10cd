"""Fifteen common statements about the learning rate, each decided by a rule that was written down before."""
