"""The table of samplers: one entry adds one to sweeps, the command line and the contract tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from stepsize.catalog import Catalog
from stepsize.checks import check_whole
from stepsize.study.samplers.drawn import Draw, Drawn, Sampler, grid, random, sobol
from stepsize.study.samplers.guided import CMAES, GP, TPE, Guided, Method


@dataclass(frozen=True)
class SamplerEntry:
    """A sampler.

    Attributes:
        name: Its name.
        title: How it chooses, in one line.
        build: Makes it from seed and number of trials; :meth:`make` checks them.
        learns: Whether losses change what it proposes.
        source: Author, title, year.
    """

    name: str
    title: str
    build: Callable[[int, int], Sampler]
    learns: bool = False
    source: str = ""

    def make(self, seed: int, trials: int) -> Sampler:
        """Return the sampler.

        Args:
            seed: Random seed of all its draws, >= 0.
            trials: Number of trials planned, >= 1; a grid has at most as many points.

        Raises:
            InputError: If an argument is out of range.
        """
        return self.build(check_whole("seed", seed, 0), check_whole("trials", trials))


def _drawn(name: str, title: str, draw: Draw, source: str = "") -> SamplerEntry:
    return SamplerEntry(name, title, partial(Drawn, draw), source=source)


def _guided(name: str, title: str, method: Method, source: str) -> SamplerEntry:
    return SamplerEntry(name, title, lambda seed, trials: Guided(method, seed), learns=True, source=source)


SAMPLERS: Catalog[SamplerEntry] = Catalog(
    "sampler",
    (
        _drawn("grid", "equal steps, coarse ones first", grid),
        _drawn(
            "random",
            "drawn at random, independently",
            random,
            "Bergstra and Bengio, Random search for hyper-parameter optimization, 2012",
        ),
        _drawn(
            "sobol",
            "spread evenly, without holes",
            sobol,
            "Sobol, On the distribution of points in a cube and the approximate evaluation of integrals, 1967",
        ),
        _guided(
            "tpe",
            "where good trials are dense and bad ones are not",
            TPE,
            "Bergstra et al., Algorithms for hyper-parameter optimization, 2011",
        ),
        _guided(
            "gp",
            "where a Gaussian process expects the most improvement",
            GP,
            "Jones, Schonlau and Welch, Efficient global optimization of expensive black-box functions, 1998",
        ),
        _guided(
            "cmaes",
            "from a normal distribution that moves to where it is good",
            CMAES,
            "Hansen and Ostermeier, Completely derandomized self-adaptation in evolution strategies, 2001",
        ),
    ),
)
