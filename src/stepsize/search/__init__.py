"""Search: sweeps over the rate and what goes with it, on one machine or many, resumable at any moment."""
