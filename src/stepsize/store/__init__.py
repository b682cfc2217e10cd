"""The store: studies, runs, curves and findings in SQLite or PostgreSQL."""
