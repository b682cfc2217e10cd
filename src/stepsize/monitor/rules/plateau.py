"""Nothing moves any more."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.curves.plateau import PlateauRule
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.readings import slope_of
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_PIECES = 20
_USED = 16  # some may pass for spikes and are left out
_LATE = 0.25
_STRAIGHT = 0.5
_FLAT = 0.01  # of the loss: what gains more gains on, however noisy
_WORTH = 2.5  # noises of one piece: what a decay wins on a plateau is more


def _look(record: Record) -> Seen | None:
    blocks = record.history("loss").finite()
    if len(blocks) < 200 or record.lost is not None or record.last("straightness") > _STRAIGHT:
        return None  # weights that go straight on crawl: a lower rate would be no remedy
    pieces = np.array_split(blocks.values, _PIECES * 2)[_PIECES:]  # the later half
    means = [float(piece.mean()) for piece in pieces]
    decision = PlateauRule(window=_USED, worth=_WORTH).judge(means)
    whole = slope_of(blocks)
    if not decision.plateau or decision.code == "worse" or whole is None or _gained(means) > _FLAT:
        return None
    rates = record.history(record.rates()[0]).finite().values if record.rates() else np.empty(0)
    if rates.size and rates[-1] < _LATE * rates.max():
        return None  # a rate that has decayed ends on a plateau: nothing is left to be won by lowering it
    steps = int(blocks.steps[-1] - blocks.steps[len(blocks) // 2])
    evidence = {"slope": decision.slope, "error": decision.slope_error, "noise": decision.noise, "steps": float(steps)}
    told = (
        f"The training loss has not fallen for about {steps:,} steps: {number_text(means[-1])} against "
        f"{number_text(means[0])}."
    )
    return Seen(told, evidence, "Let the rate decay now: what is left is the noise of the steps.", 0.3)


def _gained(means: list[float]) -> float:
    """Return the gain from one half of the pieces to the other, over the loss."""
    early, late = (float(np.mean(half)) for half in np.array_split(means, 2))
    return (early - late) / abs(late) if late else 0.0


RULE = Rule(
    code="plateau",
    title="Plateau",
    severity="info",
    meaning=(
        "Over the later half of the training so far the loss gained less than the noise of a piece of it, and less "
        "than 1 % between its halves. At a constant rate this is where the noise of the steps balances their progress; "
        "a lower rate goes deeper."
    ),
    signals=("loss", "lr"),
    reference="Smith et al., Don't decay the learning rate, increase the batch size, 2018",
    would_change="A gain of more than two and a half noises of a piece over the same window.",
    look=_look,
)
