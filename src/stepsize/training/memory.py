"""Free memory, which decides how many rates are trained together."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")  # of a container: what it may use is less than what the machine has
_UNKNOWN = 4e9  # bytes, without a counter


def free_memory(device: torch.device) -> float:
    """Return the bytes that are free on ``device``: on a CPU what can be had without swapping."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return min(_of_the_machine(), _of_the_container())


def _of_the_machine() -> float:
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):  # no such counters on this system
        return _UNKNOWN


def _of_the_container() -> float:
    try:
        most = (_GROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (_GROUP / "memory.current").read_text(encoding="ascii")
        return float("inf") if most == "max" else float(int(most) - int(used))
    except (ValueError, OSError):
        return float("inf")
