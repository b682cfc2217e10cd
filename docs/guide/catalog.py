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
    Chapter("02-too-high-too-low", "What does a rate that is too high or too low look like?"),
    Chapter("03-noise", "What is stochastic about stochastic gradient descent?"),
    Chapter("04-fixed-or-adaptive", "Do AdaGrad, RMSprop and Adam spare me the choice?"),
    Chapter("05-schedules", "What does it bring to let the rate fall?"),
    Chapter("06-momentum", "How do momentum and rate trade against each other?"),
    Chapter("07-choosing", "Which way of choosing a rate is worth its cost?"),
    Chapter("08-pitfalls", "What goes wrong, and how do I see it?"),
    Chapter("09-unseen-data", "Does the rate decide how well unseen data are predicted?"),
    Chapter("10-your-data", "What about my data moves the best rate?"),
    Chapter("11-following", "What do rates bring that follow progress?"),
    Chapter("12-a-real-case", "What does all of this bring on a real problem?", ("online_shoppers_intention.csv.gz",)),
    Chapter("13-questions", "Short questions, short answers."),
)
