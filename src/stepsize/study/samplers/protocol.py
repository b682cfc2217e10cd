"""What a sampler is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stepsize.study.ceiling import Ceiling
from stepsize.study.space import Space
from stepsize.training.runs import Run, Trial, Value

__all__ = ["Sampler"]


class Sampler(Protocol):
    """Says where in a space the next trial lies.

    A proposal is a pure function of the arguments and the sampler's seed: a new sampler that is given what an old
    one was given proposes the same, which is how a sweep that was killed goes on with the same trials. What a
    sampler remembers between calls only makes it faster.
    """

    def propose(
        self,
        number: int,
        seen: Sequence[Run],
        space: Space,
        ceiling: Ceiling | None,
        running: Sequence[Trial] = (),
    ) -> dict[str, Value] | None:
        """Return the values of a trial, or None where there is nothing left to propose.

        Args:
            number: Of the trial, from 0.
            seen: All runs so far in the order in which they were told; from call to call it grows at its end.
            space: Within which the values lie.
            ceiling: From which rate on trainings diverge; a proposal above it is moved below it.
            running: Trials that were proposed and of which nothing was told yet: others keep away from them.
        """
