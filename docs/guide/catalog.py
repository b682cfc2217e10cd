"""The chapters, in their order: one entry enrols one in the command, the index and the tests."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from docs.guide.measuring import Effort, Measured

__all__ = ["CHAPTERS", "Chapter"]


@dataclass(frozen=True)
class Chapter:
    """One chapter.

    Attributes:
        page: The name of its page, without the suffix; the script is called the same behind the number.
        question: What it answers.
        files: What it needs from the data folder.
    """

    page: str
    question: str
    files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the script."""
        return self.page.partition("-")[2].replace("-", "_")

    @property
    def measure(self) -> Callable[[Effort], Measured]:
        """The script's function."""
        function: Callable[[Effort], Measured] = importlib.import_module(f"docs.guide.chapters.{self.name}").measure
        return function


CHAPTERS = (
    Chapter("01-the-rate", "What does the learning rate do?"),
    Chapter("02-too-high-too-low", "What does a run look like if its rate is too high or too low?"),
    Chapter("03-noise", "What does the noise of mini-batches do?"),
    Chapter("04-fixed-or-adaptive", "Do AdaGrad, RMSprop and Adam make tuning the rate unnecessary?"),
    Chapter("05-schedules", "What do you gain from decaying the learning rate?"),
    Chapter("06-momentum", "How do momentum and learning rate depend on each other?"),
    Chapter("07-choosing", "Which method of choosing a rate is worth its cost?"),
    Chapter("08-pitfalls", "What goes wrong, and how do I see it?"),
    Chapter("09-validation-data", "Does the rate affect overfitting, and which loss should choose it?"),
    Chapter("10-your-data", "Which properties of my data move the best rate?"),
    Chapter("11-following", "What do you gain from adapting the rate during training?"),
    Chapter(
        "12-a-real-case", "What do you gain from all of this on a real problem?", ("online_shoppers_intention.csv.gz",)
    ),
)
