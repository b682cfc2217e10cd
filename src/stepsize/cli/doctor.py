"""``stepsize doctor``: what this machine offers to a training run: versions, devices, extras, data."""

from __future__ import annotations

import os
import platform
import re
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

import stepsize
from stepsize.cli.failures import FAILED
from stepsize.cli.options import JsonOption
from stepsize.cli.output import facts, give, quiet_table

NAME = "doctor"
EXAMPLE = "stepsize doctor --json"

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)[^;]*(?:;.*\bextra\s*==\s*['\"](?P<extra>[^'\"]+)['\"])?")
_NOT_SHOWN = ("all", "bench", "docs", "peers", "test")  # made of others, or for those who change stepsize


def command(*, as_json: JsonOption = False) -> None:
    """Show what this machine offers to a training run: versions, devices, extras, data."""
    found = report()
    give(lambda: found, lambda: render(found), as_json=as_json)
    if not found["ready"]:
        raise typer.Exit(FAILED)


def report() -> dict[str, Any]:
    """Return what this machine offers, as plain values."""
    import torch

    from stepsize.study.processes import usable_cores

    folder = os.environ.get("STEPSIZE_DATA") or None
    return judged(
        {
            "version": stepsize.__version__,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cores": usable_cores(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "devices": _devices(),
            "packages": _packages(),  # empty if stepsize is on a path, not installed
            "data_folder": folder,
            "data_files": _files(Path(folder)) if folder else [],
        }
    )


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """Return what was found, with whether runs can be trained here, and that as a sentence."""
    missing = [one["name"] for one in found["packages"] if not one["extra"] and one["version"] is None]
    ready = f"Ready to train on {', '.join(device['name'] for device in found['devices'])}."
    return {**found, "status": f"Missing: {', '.join(missing)}." if missing else ready, "ready": not missing}


def render(found: dict[str, Any]) -> RenderableType:
    """Return the report as something that rich can show."""
    rows = [
        ("stepsize", found["version"]),
        ("Python", found["python"]),
        ("platform", found["platform"]),
        ("torch", f"{found['torch']}, {found['threads']} threads on {found['cores']} cores"),
        ("data", _data_line(found)),
    ]
    extras: list[RenderableType] = ["", _extras_table(found["packages"])] if found["packages"] else []
    status = Text(found["status"], style="bold green" if found["ready"] else "bold red")
    return Group(facts(rows), "", _device_table(found["devices"]), *extras, "", status)


def _devices() -> list[dict[str, Any]]:
    """Return the places to train on, the CPU first; memory in bytes, None if it is the machine's."""
    import torch

    found: list[tuple[str, str, int | None]] = [("cpu", platform.processor() or platform.machine(), None)]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        found.append((f"cuda:{index}", card.name, card.total_memory))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU", None))
    return [
        {"name": name, "title": title, "memory": memory, "precisions": _precisions(name)}
        for name, title, memory in found
    ]


def _precisions(device: str) -> list[str]:
    """Return which precisions of a Task really compute on ``device``: each is tried once."""
    import torch

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    works = []
    for name, dtype in kinds.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns, and computes in fp32, where it cannot
                with torch.autocast(device.partition(":")[0], dtype, enabled=name != "fp32"):
                    product = torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)
        except RuntimeError:
            continue
        if product.dtype is dtype and product.sum().item() == 8:
            works.append(name)
    return works


def _packages() -> list[dict[str, Any]]:
    """Return what stepsize asks for: name, extra (empty for the core), version (None if missing), how to install it."""
    try:
        requirements = metadata.requires("stepsize") or []
    except metadata.PackageNotFoundError:
        return []
    matches = [match for text in requirements if (match := _REQUIREMENT.match(text))]
    asked = [(match["name"], match["extra"] or "") for match in matches]
    return [package(name, extra, _version(name)) for name, extra in asked if extra not in _NOT_SHOWN]


def package(name: str, extra: str, version: str | None) -> dict[str, Any]:
    """Return one package with the command that installs it."""
    install = f'pip install "stepsize[{extra}]"' if extra else f"pip install {name}"
    return {"name": name, "extra": extra, "version": version, "install": install}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _files(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError:  # missing, or not ours to read: as good as empty
        return []


def _data_line(found: dict[str, Any]) -> str:
    if found["data_folder"] is None:
        return "$STEPSIZE_DATA is not set; the tasks without data files work"
    return f"{found['data_folder']}: {', '.join(found['data_files']) or 'no files that can be read'}"


def _device_table(devices: list[dict[str, Any]]) -> Table:
    table = quiet_table("device", "name", "memory (GiB)", "precisions")
    for one in devices:
        memory = "shared" if one["memory"] is None else f"{one['memory'] / 2**30:.1f}"
        table.add_row(one["name"], Text(one["title"]), memory, ", ".join(one["precisions"]))
    return table


def _extras_table(packages: list[dict[str, Any]]) -> Table:
    """One row per extra: the packages that are there, those that are missing, and how to get them."""
    table = quiet_table("extra", "installed", "missing", "to install")
    for extra in dict.fromkeys(one["extra"] for one in packages):
        asked = [one for one in packages if one["extra"] == extra]
        missing = [one for one in asked if one["version"] is None]
        table.add_row(
            extra or "core",
            Text(", ".join(f"{one['name']} {one['version']}" for one in asked if one not in missing), style="green"),
            Text(", ".join(one["name"] for one in missing), style="yellow"),
            Text(missing[0]["install"] if missing else ""),
        )
    return table
