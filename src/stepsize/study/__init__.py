"""Studies: `find`, `sweep` and `compare`, driven by one engine; resumable at any moment, on one machine or many."""
