"""The table of samplers: one entry adds one to sweeps, the command line and the contract tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from stepsize.catalog import Catalog
from stepsize.checks import check_whole
from stepsize.study.samplers.drawn import Sampler, drawn, grid, random, sobol
from stepsize.study.samplers.guided import Guided


@dataclass(frozen=True)
class SamplerEntry:
    """A sampler: how it chooses, in one line, and what makes it from seed and number of trials.

    ``learns`` says whether losses change what it proposes.
    """

    name: str
    title: str
    build: Callable[[int, int], Sampler]
    learns: bool = False
    source: str = ""

    def make(self, seed: int, trials: int) -> Sampler:
        """Return the sampler for so many trials; raises InputError if an argument is out of range."""
        return self.build(check_whole("seed", seed, 0), check_whole("trials", trials))


def _guided(name: str, title: str, sampler: str, source: str) -> SamplerEntry:
    return SamplerEntry(name, title, lambda seed, trials: Guided(sampler, seed), learns=True, source=source)


SAMPLERS: Catalog[SamplerEntry] = Catalog(
    "sampler",
    (
        SamplerEntry("grid", "equal steps, coarse ones first", lambda seed, trials: drawn(partial(grid, trials))),
        SamplerEntry(
            "random",
            "drawn at random, independently",
            lambda seed, trials: drawn(partial(random, seed)),
            source="Bergstra and Bengio, Random search for hyper-parameter optimization, 2012",
        ),
        SamplerEntry(
            "sobol",
            "spread evenly, without holes",
            lambda seed, trials: drawn(partial(sobol, seed)),
            source="Sobol, On the distribution of points in a cube and the approximate evaluation of integrals, 1967",
        ),
        _guided(
            "tpe",
            "where good trials are dense and bad ones are not",
            "TPESampler",
            "Bergstra et al., Algorithms for hyper-parameter optimization, 2011",
        ),
        _guided(
            "gp",
            "where a Gaussian process expects the most improvement",
            "GPSampler",
            "Jones, Schonlau and Welch, Efficient global optimization of expensive black-box functions, 1998",
        ),
    ),
)
