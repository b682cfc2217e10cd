"""Acting on what was found: back to a good state, at a lower rate or without the batches, and never silently."""
