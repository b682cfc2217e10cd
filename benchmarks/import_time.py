"""How long fresh processes take to import stepsize, beside what its users import anyway."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table

__all__ = ["IMPORT_FILE", "STATEMENTS", "compute_import", "import_report", "timed"]

IMPORT_FILE = RECORDS_FOLDER / "import_time.json"
_ROUNDS = 7
_LIMIT = 120  # seconds; no import takes as long
_BASE = "import torch"

STATEMENTS = {
    "nothing, the interpreter alone": "pass",
    "import stepsize": "import stepsize",
    "import optuna": "import optuna",
    _BASE: "import torch",
    "import stepsize, first use of Task": "import stepsize; stepsize.Task",
    "import stepsize, first use of find": "import stepsize; stepsize.find",
}


def compute_import(path: Path = IMPORT_FILE, rounds: int = _ROUNDS) -> None:
    """Time every statement in ``rounds`` fresh processes and keep the record."""
    seconds = timed(STATEMENTS, rounds)
    head = header("import-time")
    head["versions"]["optuna"] = metadata.version("optuna")
    rows = ({"what": name, "seconds": [round(value, 4) for value in values]} for name, values in seconds.items())
    write_record(path, head, rows)


def timed(statements: Mapping[str, str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each statement, a process each, in turns so that a busy machine is busy for all of them.

    A first round is not counted: it reads the files from the disk and compiles what was not compiled yet.
    """
    seconds: dict[str, list[float]] = {name: [] for name in statements}
    for number in range(rounds + 1):
        for name, code in statements.items():
            value = _seconds(code)
            if number:
                seconds[name].append(value)
    return seconds


def import_report(path: Path = IMPORT_FILE) -> str:
    """Return the table of the record, with the sentence that says how to read it."""
    kept = {row["what"]: row["seconds"] for row in read_rows(path)}
    if not kept:
        return "Nothing measured yet: `python -m benchmarks import-time`."
    head = json.loads(path.read_text(encoding="utf-8"))["record"]
    lines = [
        [name, f"{statistics.median(values):.2f}", f"{min(values):.2f} … {max(values):.2f}", _ratio(values, kept)]
        for name, values in kept.items()
    ]
    versions = head["versions"]
    about = (
        f"Seconds from the start to the end of a process, `python -c` and the statement; median of {len(kept[_BASE])} "
        f"interleaved rounds after one that is not counted; the last column is the median of the ratios in a round. "
        f"Commit {head['commit']}, {head['date'][:10]}, torch {versions['torch']}, optuna {versions['optuna']}."
    )
    heads = ["what runs", "seconds", "least … most", "of `import torch`"]
    return f"{about}\n\n{markdown_table(heads, lines)}"


def _ratio(values: Sequence[float], kept: Mapping[str, Sequence[float]]) -> str:
    ratios = [value / base for value, base in zip(values, kept[_BASE], strict=True)]
    return f"{statistics.median(ratios):.2f} ×"


def _seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=_LIMIT)
    return time.perf_counter() - began
