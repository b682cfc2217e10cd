"""Writes docs/gallery.md and its pictures: ``python -m docs.make_gallery [NAME …]`` runs the commands of the page.

Each picture is drawn by the command under it, from real runs of built-in tasks that need no download. Without names all
commands are run, which takes about ten minutes on two cores; with names only those. A test holds the page to this table
and checks that every command with ``--plot``, and every ``--chart`` of it, is here.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stepsize.files import write_whole

DOCS = Path(__file__).parent
PAGE = DOCS / "gallery.md"
PICTURES = DOCS / "images" / "gallery"
_WIDTH = 100  # of a command before it is broken


@dataclass(frozen=True)
class Chart:
    """One chart of the gallery.

    Attributes:
        title: Heading.
        command: The command that draws it into ``FILE``.
        python: The same in Python.
        caption: What the picture shows.
        file: File below ``docs/images``.
    """

    title: str
    command: str
    python: str
    caption: str
    file: str

    @property
    def shown(self) -> str:
        """The command as the page shows it."""
        return self.command.replace("FILE", Path(self.file).name)


SECTIONS: dict[str, tuple[Chart, ...]] = {
    "Find a learning rate": (
        Chart(
            "Loss vs. learning rate, with the answer",
            "stepsize find digits-autoencoder --plot FILE",
            "stepsize.find(task).plot()",
            "Points are short and full runs; the line is the fitted loss with its uncertainty. The shaded range is as "
            "good as the recommended rate.",
            "find-digits-autoencoder.png",
        ),
        Chart(
            "Range test",
            "stepsize range-test digits-mlp --lr 1e-6:1 --plot FILE",
            "stepsize.range_test(step, optimizer, batches).plot()",
            "Training loss while the learning rate rises within one short sweep: where the loss falls, the suggested "
            "rate, and where it rises again.",
            "gallery/range-test.svg",
        ),
        Chart(
            "Profile",
            "stepsize profile digits-mlp --plot FILE",
            "stepsize.profile(task).plot()",
            "Properties of data and model that determine the learning rate: critical rate, gradient noise, scales.",
            "gallery/profile.svg",
        ),
    ),
    "Sweep": (
        Chart(
            "Loss vs. learning rate",
            "stepsize sweep digits-mlp --steps 150 --lr 1e-4:1 --trials 12 --seeds 3 --plot FILE",
            "swept.plot()",
            "All runs of a sweep on three seeds, the fitted curve, and the range of rates that is as good.",
            "gallery/sweep-rates.svg",
        ),
        Chart(
            "Loss over two dimensions",
            "stepsize sweep digits-mlp --steps 150 --lr 1e-3:1 --momentum 0.5:0.99 --trials 40 --seeds 1 --chart map "
            "--plot FILE",
            'swept.plot("map")',
            "Final loss by learning rate and momentum. The line marks constant learning rate ÷ (1 − momentum).",
            "gallery/sweep-map.svg",
        ),
        Chart(
            "Training curves",
            "stepsize sweep digits-mlp --steps 150 --lr 1e-4:1 --trials 12 --seeds 3 --chart curves --plot FILE",
            'swept.plot("curves")',
            "Smoothed training loss of every run; lighter lines have a higher learning rate.",
            "gallery/sweep-curves.svg",
        ),
        Chart(
            "Best loss vs. cost",
            "stepsize sweep digits-mlp --steps 150 --lr 1e-4:1 --trials 12 --seeds 3 --chart cost --plot FILE",
            'swept.plot("cost")',
            "Best final loss so far, by the number of full runs spent.",
            "gallery/sweep-cost.svg",
        ),
    ),
    "Compare optimizers": (
        Chart(
            "Final loss",
            "stepsize compare digits-mlp --steps 150 --optimizers sgd,momentum,adam,muon --plot FILE",
            "stepsize.compare(task, optimizers).plot()",
            "Final validation loss of each optimizer at its own tuned rate; one dot per seed.",
            "gallery/compare-final.svg",
        ),
        Chart(
            "Loss vs. learning rate, by optimizer",
            "stepsize compare digits-mlp --steps 150 --optimizers sgd,adam,lion,muon,prodigy --chart rates --plot FILE",
            'compared.plot("rates")',
            "The best rates of five optimizers differ by up to three orders of magnitude. (Lion and Prodigy need "
            "`stepsize[optimizers]`.)",
            "compare-digits-mlp.svg",
        ),
        Chart(
            "Training curves, by optimizer",
            "stepsize compare digits-mlp --steps 150 --optimizers sgd,momentum,adam,muon --chart steps --plot FILE",
            'compared.plot("steps")',
            "Training loss of each optimizer at its tuned rate.",
            "gallery/compare-steps.svg",
        ),
    ),
    "Train and watch": (
        Chart(
            "A run",
            "stepsize train digits-mlp --lr 0.01 --plot FILE",
            "stepsize.train(task, lr)",
            "Training loss, validation loss and learning rate of one run.",
            "gallery/train.svg",
        ),
    ),
    "Schedules": (
        Chart(
            "A schedule",
            'stepsize schedule "warmup 5%, constant 75%, cooldown 20%" --steps 10000 --lr 3e-3 --plot FILE',
            "schedules.preview(schedule, peaks)",
            "The learning rate of every step, with its key points.",
            "gallery/schedule.svg",
        ),
        Chart(
            "Schedules compared",
            'stepsize schedule compare "linear warmup=5%" "cosine warmup=5%" "wsd" --steps 10000 --plot FILE',
            "schedules.preview(schedule, peaks)",
            "Several schedules over the same number of steps.",
            "gallery/schedules-compared.svg",
        ),
    ),
}

_HEAD = """# Gallery

<!-- Written by docs/make_gallery.py. -->

Every chart of the package, with the command that made the picture and the same in Python. `--plot` takes `.png`,
`.svg`, `.html` or `.pdf`; in Python, call `.plot().save("chart.html")`. HTML charts are interactive and work without a
network, in dark colors if the browser prefers them. All tasks on this page are built in and need no download.
"""
_TAIL = """## More pictures

- [Schedules](schedules.md#the-catalog) has a picture of each schedule in the catalog.
- `stepsize report RUN --html report.html` writes the report of a watched run as one page, with its curves and findings.
- [An interactive page](guide/interactive/learning_rate.html): move the learning rate on four surfaces with six
  optimizers, and see what it does in 450 real runs.
- The charts of [Benchmarks](benchmarks.md), [Claims](claims.md) and [the guide](guide/index.md) are drawn from their
  records.
"""


def charts() -> tuple[Chart, ...]:
    """Return all charts, in the order of the page."""
    return tuple(chart for section in SECTIONS.values() for chart in section)


def page() -> str:
    """Return the page."""
    parts = [_HEAD.strip()]
    for title, inside in SECTIONS.items():
        parts += [f"## {title}", *map(_section, inside)]
    return "\n\n".join([*parts, _TAIL.strip()]) + "\n"


def _section(chart: Chart) -> str:
    return (
        f"### {chart.title}\n\n![{chart.title}: {chart.caption}](images/{chart.file})\n\n{chart.caption}\n\n"
        f"```sh\n{_broken(chart.shown)}\n```\n\nIn Python: `{chart.python}`"
    )


def _broken(command: str) -> str:
    """Return a command in lines that a narrow page shows whole."""
    return command if len(command) <= _WIDTH else command.replace(" --chart", " \\\n    --chart")


def draw(chart: Chart, folder: Path) -> None:
    """Run the command of a chart in ``folder`` and put its picture in place."""
    words = [sys.executable, "-m", *shlex.split(chart.shown)]
    subprocess.run(words, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    target = DOCS / "images" / chart.file
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, (folder / target.name).read_bytes())


def main(names: list[str]) -> None:
    """Draw the charts that were named, or all, and write the page."""
    with tempfile.TemporaryDirectory() as folder:  # one store for all: a second chart of a sweep trains nothing
        for chart in charts():
            if not names or Path(chart.file).stem in names:
                draw(chart, Path(folder))
    write_whole(PAGE, page().encode("utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:])
