"""A corpus of loss-against-rate curves of small trainings, drawn from a seed and trained with stacked parameters."""
