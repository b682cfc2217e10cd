"""The page docs/conformance.md, written from the table: ``python -m tests.parity.page``."""

from __future__ import annotations

import html
import math
import re
import sys
import warnings
from pathlib import Path

from tests.parity.cases import BEYOND, PEERS, Case, Defect, Peer, peer
from tests.parity.rows_keras import other_backend

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conformance.md"

_HEAD = f"""\
# Conformance: our schedules and those of other libraries

<!-- Written by `python -m tests.parity.page`; a test fails if it is not what the table gives. Do not edit. -->

Every schedule of the libraries below that is a function of the step, compared with ours update by update:
{{cases}} schedules of {{peers}} peers, and {{defects}} defects of theirs that the tests state in numbers, so that a
fixed one is noticed. Our code is next to theirs in `tests/parity/rows_*.py`.
Numbers are factors, lr / peak lr, evaluated and rounded to six digits. **One number: theirs and ours are the same.
a ≠ b: theirs a, ours b.** Columns:

- *update 0*: the factor that the first update uses;
- *boundary*: the factor at the update given in parentheses, where a phase begins, a peak is or a value changes;
- *last*: update N - 1, the last planned one;
- *beyond*: update N + {BEYOND}, which nobody planned;
- *max difference*: over all updates from 0 to N + {BEYOND}, or over those it names; never rounded down.

What holds for every schedule of ours:

| rule | |
|---|---|
| update 0 | uses the factor of step 0 |
| boundary | a phase of N steps covers the updates t < N; step N belongs to the next phase |
| last update | N - 1; the end of a decay is reached at step N, unless `endpoints` says otherwise |
| beyond the end | the factor stays what it is at step `length`; nothing rises again automatically |

A linear warmup of W updates has three conventions; ours is the third unless `endpoints` says otherwise:

| `endpoints` | update t | update 0 | first update at the peak | as in |
|---|---|---|---|---|
| `"start"` | t / W | 0 | W | transformers, optax, keras, Megatron-LM, timm |
| `"end"` | (t + 1) / W | 1 / W | W - 1 | transformers' cosine_warmup_with_min_lr, Noam |
| `"neither"` | (t + 1) / (W + 1) | 1 / (W + 1) | W | nanoGPT |
"""


def text() -> str:
    """The page as the table gives it now."""
    peers = [peer(name) for name in PEERS]
    head = _HEAD.format(
        cases=sum(len(found.cases) for found in peers),
        defects=sum(len(found.defects) for found in peers),
        peers=len(peers),
    )
    return "\n".join([head, *(_section(found) for found in peers)])


def pinned() -> dict[str, str]:
    """The versions that constraints.txt names."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [re.match(r"([A-Za-z0-9._-]+)==([^\s;+]+)", line) for line in lines]
    return {found[1].replace("-", "_"): found[2] for found in matches if found}


def unlike_pinned() -> str | None:
    """Why the page cannot be made here as it was; None if it can."""
    pins = pinned()
    for name in PEERS:
        found = peer(name)
        if found.package is not None and found.version != pins[found.package]:
            return f"{found.package} {pins[found.package]} is pinned; installed is {found.version or 'none'}"
    backend = other_backend()
    return None if backend is None else f"keras is on {backend} here; the page is for KERAS_BACKEND=torch"


def _section(found: Peer) -> str:
    version = f" {found.version}" if found.package else ""
    parts = [f"## {found.name}{version}", found.about, _cases(found)]
    if found.defects:
        parts += ["Defects, and what holds here instead:", _defects(found)]
    if found.left_out:
        parts += ["Without a row:", "\n".join(f"- {item}" for item in found.left_out)]
    return "\n\n".join(parts) + "\n"


def _cases(found: Peer) -> str:
    rows = ["| theirs | ours | update 0 | boundary | last | beyond | max difference | to know |", "|" + "---|" * 8]
    return "\n".join([*rows, *(_case(case) for case in found.cases)])


def _case(case: Case) -> str:
    theirs, ours = case.factors
    at = (0, case.boundary, case.steps - 1, case.steps + BEYOND)
    first, boundary, last, beyond = (_pair(theirs[step], ours[step], case.tolerance) for step in at)
    cells = [
        _code(case.name),
        _code(str(case.ours)),
        first,
        f"{boundary} ({case.boundary})",
        last,
        beyond,
        _difference(case),
    ]
    return _row([*cells, case.note])


def _difference(case: Case) -> str:
    assert case.difference <= case.tolerance, case.name
    until = case.steps + BEYOND if case.agree is None else case.agree - 1
    where = "" if case.agree is None and case.since == 0 else f", updates {case.since} to {until}"
    return f"≤ {case.tolerance:.0e}{where}".replace("e-0", "e-")


def _defects(found: Peer) -> str:
    rows = ["| what | where | update: theirs ≠ ours | our contract | source |", "|" + "---|" * 5]
    return "\n".join([*rows, *(_defect(defect) for defect in found.defects)])


def _defect(defect: Defect) -> str:
    pairs = zip(defect.updates, *defect.factors, strict=True)
    shown = ", ".join(f"{update}: {_pair(theirs, ours, 5e-7)}" for update, theirs, ours in pairs)
    return _row([defect.name, _code(defect.where), shown, defect.rule, defect.source])


def _pair(theirs: float, ours: float, tolerance: float) -> str:
    return _number(ours) if abs(theirs - ours) <= tolerance else f"{_number(theirs)} ≠ {_number(ours)}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "raises"
    return f"{value:.6g}" if abs(value) > 1e-12 else "0"


def _code(value: str) -> str:
    """Return code for a cell; a bar is an entity there, so that what a browser shows can be pasted."""
    return f"<code>{html.escape(value, quote=False).replace('|', '&#124;')}</code>" if "|" in value else f"`{value}`"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


if __name__ == "__main__":
    reason = unlike_pinned()
    if reason is not None:
        sys.exit(f"cannot write the page: {reason}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        PAGE.write_text(text(), encoding="utf-8")
