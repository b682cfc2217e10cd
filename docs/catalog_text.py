"""The pages of the catalogs: one row or section for each entry, from the entries themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stepsize.optimizers import OPTIMIZERS
from stepsize.study.samplers import SAMPLERS
from stepsize.study.workers import WORKERS
from stepsize.tasks import TASKS
from stepsize.views import number_text


def optimizers_page() -> str:
    """Return the page of the catalog of optimizers."""
    rows = [
        (
            f"`{name}`",
            entry.title,
            number_text(entry.default_lr) + (" (a factor)" if entry.lr_free else ""),
            "\N{NO-BREAK SPACE}…\N{NO-BREAK SPACE}".join(number_text(end) for end in entry.lr_range),
            _momentum(entry),
            entry.package,
        )
        for name, entry in OPTIMIZERS.items()
    ]
    header = ("name", "optimizer", "usual lr", "lr to search", "momentum", "package")
    sources = [(f"`{name}`", entry.source or "–", entry.range_source) for name, entry in OPTIMIZERS.items()]
    return _page(
        f"""# Optimizers

{len(OPTIMIZERS)} optimizers are known by name, for `Task(optimizer=…)`, `--optimizer`, `compare` and `sweep`. All
rates are absolute values. An optimizer that estimates its own rate takes a factor of its estimate instead. Optimizers
from other packages need `pip install "stepsize[optimizers]"`. Any `f(params, lr)` works too.

*Momentum*: heavy-ball (a constant gradient moves a weight by lr / (1 − m) per step) or averaged (by lr).""",
        _table(header, rows),
        "## Sources",
        _table(("name", "source", "range of rates from"), sources),
    )


def _momentum(entry: Any) -> str:
    return "–" if entry.momentum is None else f"{entry.momentum}, {entry.momentum_default:g}"


def tasks_page() -> str:
    """Return the page of the built-in tasks."""
    rows = [
        (
            f"`{name}`",
            entry.title,
            f"{entry.steps:,}",
            str(entry.batch_size),
            f"`{entry.optimizer}`",
            "yes" if entry.files else "no",
            entry.source,
        )
        for name, entry in TASKS.items()
    ]
    without = sum(not entry.files for entry in TASKS.values())
    return _page(
        f"""# Tasks

{len(TASKS)} small training runs on real data, to try things out and for the benchmarks: `stepsize find NAME`, or
`stepsize.build_task("NAME")`. {without} of them need no files. The others read the folder that `--data` or
`$STEPSIZE_DATA` names, and say which file is missing.""",
        _table(("name", "what is learned", "steps", "batch", "optimizer", "needs files", "data and license"), rows),
    )


def samplers_page() -> str:
    """Return the page of samplers and workers of a sweep."""
    samplers = [(f"`{name}`", one.title, "yes" if one.learns else "no", one.source or "–")
                for name, one in SAMPLERS.items()]  # fmt: skip
    workers = [(f"`{name}`", one.title) for name, one in WORKERS.items()]
    return _page(
        """# Samplers and workers

What `stepsize.sweep(task, sampler=…, workers=…)` and `stepsize sweep` take by name.

## Samplers

A sampler proposes the next configuration.""",
        _table(("name", "how it chooses", "learns", "source"), samplers),
        "## Workers\n\nWhere and how runs are trained.",
        _table(("name", "how"), workers),
    )


def _page(*parts: str) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
