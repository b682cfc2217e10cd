"""The callbacks' modules need their trainers: their examples are collected only where these are installed."""

from importlib.util import find_spec

_NEEDS = {"keras": "keras", "lightning": "lightning", "transformers": "transformers"}

collect_ignore = [f"stepsize/frameworks/{name}.py" for name, package in _NEEDS.items() if find_spec(package) is None]
