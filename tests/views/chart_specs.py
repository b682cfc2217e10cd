"""What tests ask of a chart's spec."""

from __future__ import annotations

import re
from typing import Any

Spec = dict[str, Any]


def flat_layers(spec: Spec) -> list[Spec]:
    """Return all layers of all panels of a spec."""
    parts = spec.get("vconcat", []) + spec.get("hconcat", []) + spec.get("layer", [])
    inherited = {key: spec[key] for key in ("data",) if key in spec}
    return [layer for part in parts for layer in flat_layers(inherited | part)] if parts else [spec]


def named(spec: Spec, name: str) -> list[Spec]:
    """Return the layers of a name, to which altair adds a number in charts of several panels."""
    return [layer for layer in flat_layers(spec) if re.fullmatch(rf"{name}(_\d+)?", layer.get("name", ""))]


def values(spec: Spec, layer: Spec) -> list[Spec]:
    """Return the rows that a layer draws."""
    data = layer["data"]
    found: list[Spec] = data["values"] if "values" in data else spec["datasets"][data["name"]]
    return found


def texts(spec: Spec) -> list[str]:
    """Return all texts that stand in the chart."""
    layers = [layer for layer in flat_layers(spec) if layer["mark"]["type"] == "text"]
    return [row["text"] for layer in layers for row in values(spec, layer)]
