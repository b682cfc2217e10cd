"""What every record says of itself: when, where and with what it was made; and how records are kept."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["RECORDS_FOLDER", "between_markers", "commit", "header", "read_rows", "write_record"]

RECORDS_FOLDER = Path(__file__).parent / "records"
_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "lightning", "torch-lr-finder")


def header(command: str) -> dict[str, Any]:
    """Return date, commit, machine and versions for a record made by ``command``."""
    return {
        "command": f"python -m benchmarks {command}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {"cores": os.cpu_count(), "processor": _processor(), "system": platform.system()},
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
    }


def commit() -> str | None:
    """Return the commit of the working tree, with ``+`` where it has changes; None outside a repository."""
    here = Path(__file__).parent
    try:
        name = _git("rev-parse", "--short=12", "HEAD", folder=here)
        return name + ("+" if _git("status", "--porcelain", "--", "../src", folder=here) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str, folder: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def write_record(path: Path, head: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a record with one row a line; a kill leaves the old file or the new one."""
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = json.dumps({"record": dict(head)}, indent=1, ensure_ascii=False)[:-2] + f',\n "rows": [\n  {lines}\n ]\n}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)  # noqa: PTH105 - atomic


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a record; none where there is no such file."""
    return list(json.loads(path.read_text(encoding="utf-8"))["rows"]) if path.exists() else []


def between_markers(text: str, name: str, content: str) -> str:
    """Return ``text`` with what lies between ``<!-- name:begin -->`` and ``<!-- name:end -->`` replaced.

    Raises:
        ValueError: If the two markers are not there, once each and in this order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the text must hold {begin} and after it {end}, once each")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{content.strip()}\n{end}{rest.partition(end)[2]}"
