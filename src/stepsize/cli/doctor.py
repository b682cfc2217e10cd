"""``stepsize doctor``: what this machine offers to a training run: versions, devices, extras, data."""

from __future__ import annotations

import os
import platform
import re
import warnings
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

import stepsize
from stepsize.cli.failures import FAILED, reporting_failures
from stepsize.cli.options import JsonOption
from stepsize.cli.output import facts, print_json, show

NAME = "doctor"
EXAMPLE = "stepsize doctor --json"

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)[^;]*(?:;.*\bextra\s*==\s*['\"](?P<extra>[^'\"]+)['\"])?")


@dataclass(frozen=True)
class Device:
    """A place to train on; ``memory`` in bytes, None if it is the machine's."""

    name: str
    title: str
    memory: int | None
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class Package:
    """A package that stepsize asks for; ``extra`` is empty if it always does, ``version`` None if it is missing."""

    name: str
    extra: str
    version: str | None

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f'pip install "stepsize[{self.extra}]"' if self.extra else f"pip install {self.name}"


@dataclass(frozen=True)
class Doctor:
    """What :func:`report` found."""

    version: str
    python: str
    platform: str
    cores: int  # that this process may use
    torch: str
    threads: int
    devices: tuple[Device, ...]  # the CPU first
    packages: tuple[Package, ...]  # empty if stepsize is on a path, not installed
    data_folder: str | None  # $STEPSIZE_DATA
    data_files: tuple[str, ...]

    @property
    def missing(self) -> tuple[Package, ...]:
        """The packages that are always needed and are missing."""
        return tuple(package for package in self.packages if not package.extra and package.version is None)

    @property
    def status(self) -> str:
        """Whether training runs can run here, as a sentence."""
        if self.missing:
            return f"Missing: {', '.join(package.name for package in self.missing)}."
        return f"Ready to train on {', '.join(device.name for device in self.devices)}."

    def to_json(self) -> dict[str, Any]:
        """Return the report as a dict of what JSON can hold."""
        packages = [{**asdict(package), "install": package.install} for package in self.packages]
        return {"status": self.status, **asdict(self), "packages": packages}


def command(*, as_json: JsonOption = False) -> None:
    """Show what this machine offers to a training run: versions, devices, extras, data."""
    with reporting_failures():
        doctor = report()
        if as_json:
            print_json(doctor.to_json())
        else:
            show(render(doctor))
        if doctor.missing:
            raise typer.Exit(FAILED)


def report() -> Doctor:
    """Look at this machine and return what it offers; changes nothing.

    Example:
        >>> report().devices[0].name
        'cpu'
    """
    import torch

    folder = os.environ.get("STEPSIZE_DATA") or None
    return Doctor(
        version=stepsize.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=_cores(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        devices=_devices(),
        packages=_packages(),
        data_folder=folder,
        data_files=_files(Path(folder)) if folder else (),
    )


def render(doctor: Doctor) -> RenderableType:
    """Return the report as something that rich can show."""
    rows = [
        ("stepsize", doctor.version),
        ("Python", doctor.python),
        ("platform", doctor.platform),
        ("torch", f"{doctor.torch}, {doctor.threads} threads on {doctor.cores} cores"),
        ("data", _data_line(doctor)),
    ]
    extras: list[RenderableType] = ["", _extras_table(doctor)] if doctor.packages else []
    status = Text(doctor.status, style="bold red" if doctor.missing else "bold green")
    return Group(facts(rows), "", _device_table(doctor), *extras, "", status)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: a container may be given fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _devices() -> tuple[Device, ...]:
    import torch

    found = [Device("cpu", platform.processor() or platform.machine(), None, _precisions("cpu"))]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        name = f"cuda:{index}"
        found.append(Device(name, facts.name, facts.total_memory, _precisions(name)))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU", None, _precisions("mps")))
    return tuple(found)


def _precisions(device: str) -> tuple[str, ...]:
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
    return tuple(works)


def _packages() -> tuple[Package, ...]:
    try:
        requirements = metadata.requires("stepsize") or []
    except metadata.PackageNotFoundError:
        return ()
    matches = [match for text in requirements if (match := _REQUIREMENT.match(text)) and match["name"] != "stepsize"]
    return tuple(Package(match["name"], match["extra"] or "", _version(match["name"])) for match in matches)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _files(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(path.name for path in folder.iterdir() if path.is_file()))
    except OSError:  # missing, or not ours to read: as good as empty
        return ()


def _data_line(doctor: Doctor) -> str:
    if doctor.data_folder is None:
        return "$STEPSIZE_DATA is not set; the tasks without data files work"
    if not doctor.data_files:
        return f"{doctor.data_folder}: no files that can be read"
    return f"{doctor.data_folder}: {', '.join(doctor.data_files)}"


def _quiet_table(*columns: str) -> Table:
    return Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="bold")


def _device_table(doctor: Doctor) -> Table:
    table = _quiet_table("device", "name", "memory (GiB)", "precisions")
    for device in doctor.devices:
        memory = "shared" if device.memory is None else f"{device.memory / 2**30:.1f}"
        table.add_row(device.name, Text(device.title), memory, ", ".join(device.precisions))
    return table


def _extras_table(doctor: Doctor) -> Table:
    """One row per extra: the packages that are there, those that are missing, and how to get them."""
    table = _quiet_table("extra", "installed", "missing", "to install")
    for extra in dict.fromkeys(package.extra for package in doctor.packages):
        asked = [package for package in doctor.packages if package.extra == extra]
        missing = [package for package in asked if package.version is None]
        table.add_row(
            extra or "core",
            Text(", ".join(f"{one.name} {one.version}" for one in asked if one.version is not None), style="green"),
            Text(", ".join(one.name for one in missing), style="yellow"),
            Text(missing[0].install if missing else ""),
        )
    return table
