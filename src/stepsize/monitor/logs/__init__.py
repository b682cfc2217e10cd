"""Logs that other tools wrote."""
