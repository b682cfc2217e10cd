"""The table of samplers: one entry enrols one in sweeps, the command line and the contract tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stepsize.errors import InputError, UnknownNameError
from stepsize.study.samplers.drawn import Random, Sobol
from stepsize.study.samplers.grid import Grid
from stepsize.study.samplers.optuna_samplers import CMAES, GP, TPE, Guided
from stepsize.study.samplers.protocol import Sampler

__all__ = ["SAMPLERS", "SamplerEntry", "sampler_entry"]


@dataclass(frozen=True)
class SamplerEntry:
    """What is known of a sampler.

    Attributes:
        name: What it is called.
        title: How it chooses, in a line.
        build: Makes it from seed and number of trials; :meth:`make` checks them.
        joint: Whether it is meant for several dimensions at once.
        learns: Whether what was seen changes what it proposes, beside the ceiling.
        source: Author, title, year.
    """

    name: str
    title: str
    build: Callable[[int, int], Sampler]
    joint: bool = True
    learns: bool = False
    source: str = ""

    def make(self, seed: int, trials: int) -> Sampler:
        """Return the sampler.

        Args:
            seed: Of all its draws, >= 0.
            trials: How many are planned, >= 1; a grid has at most as many points.

        Raises:
            InputError: If an argument breaks its rule.
        """
        for name, value, least in (("seed", seed, 0), ("trials", trials, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(name, value, f"must be a whole number, at least {least}")
        return self.build(seed, trials)


_ENTRIES = (
    SamplerEntry("grid", "equal steps, coarse ones first", lambda seed, trials: Grid(trials), joint=False),
    SamplerEntry(
        "random",
        "drawn at random, each on its own",
        lambda seed, trials: Random(seed),
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, 2012",
    ),
    SamplerEntry(
        "sobol",
        "spread evenly, without holes",
        lambda seed, trials: Sobol(seed),
        source="Sobol, On the distribution of points in a cube and the approximate evaluation of integrals, 1967",
    ),
    SamplerEntry(
        "tpe",
        "where good trials are dense and bad ones are not",
        lambda seed, trials: Guided(TPE, seed),
        learns=True,
        source="Bergstra et al., Algorithms for hyper-parameter optimization, 2011",
    ),
    SamplerEntry(
        "gp",
        "where a Gaussian process expects the most improvement",
        lambda seed, trials: Guided(GP, seed),
        learns=True,
        source="Jones, Schonlau and Welch, Efficient global optimization of expensive black-box functions, 1998",
    ),
    SamplerEntry(
        "cmaes",
        "from a normal law that moves to where it is good",
        lambda seed, trials: Guided(CMAES, seed),
        learns=True,
        source="Hansen and Ostermeier, Completely derandomized self-adaptation in evolution strategies, 2001",
    ),
)

SAMPLERS: dict[str, SamplerEntry] = {entry.name: entry for entry in _ENTRIES}


def sampler_entry(name: str) -> SamplerEntry:
    """Return the catalog entry of ``name``.

    Args:
        name: A key of :data:`SAMPLERS`, for example ``"tpe"``.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest.

    Example:
        >>> sampler_entry("sobol").title
        'spread evenly, without holes'
    """
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)
    return SAMPLERS[name]
