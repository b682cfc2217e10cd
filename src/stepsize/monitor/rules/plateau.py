"""The loss no longer falls."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.curves.plateau import PlateauRule
from stepsize.monitor.finding import Finding, Rule, Seen
from stepsize.monitor.readings import slope_of
from stepsize.monitor.record import Record
from stepsize.monitor.rules.not_learning import never_learned

_PIECES = 20
_USED = 16  # some may be outliers and are left out
_LATE = 0.25
_STRAIGHT = 0.5
_FLAT = 0.01  # of the loss: what falls by more still falls, however noisy
_FELL = 0.05  # of the loss, at no lower a rate: it was no plateau …
_BEYOND = 3.0  # standard deviations of a piece: … if that is more than chance explains
_SAME = 0.7  # of the rate at the finding: below, a decay explains the decrease
_WORTH = 2.5  # standard deviations of one piece: a decay on a plateau lowers the loss by more


def _check(record: Record) -> Seen | None:
    blocks = record.history("loss").finite()
    if len(blocks) < 200 or record.diverged is not None or record.last("straightness") > _STRAIGHT:
        return None  # weights that move straight on are slow, and a lower learning rate is no remedy for that
    pieces = np.array_split(blocks.values, _PIECES * 2)[_PIECES:]  # the second half
    means = [float(piece.mean()) for piece in pieces]
    decision = PlateauRule(window=_USED, worth=_WORTH).judge(means)
    whole = slope_of(blocks)
    if never_learned(record):
        return None  # another finding
    if not decision.plateau or decision.code == "worse" or whole is None or _decrease(means) > _FLAT:
        return None
    level = float(np.mean(means))
    if abs(means[-1] - level) > _BEYOND * decision.noise:
        return None  # something happens right now
    rates = record.history(record.rates()[0]).finite().values if record.rates() else np.empty(0)
    if rates.size and rates[-1] < _LATE * rates.max():
        return None  # a decayed learning rate ends on a plateau: lowering it brings nothing
    steps = int(blocks.steps[-1] - blocks.steps[len(blocks) // 2])
    evidence = {"slope": decision.slope, "error": decision.slope_error, "noise": decision.noise, "steps": float(steps)}
    evidence |= {"loss": means[-1], "level": level, "lr": record.lr}
    message = (
        f"The training loss has not fallen for about {steps:,} steps: {number_text(means[-1])} now, "
        f"{number_text(means[0])} then."
    )
    return Seen(message, evidence, "Decay the learning rate now: what remains is step noise.", 0.3)


def _refuted(record: Record, found: Finding) -> bool:
    """Return whether the loss fell after all, by more than its noise, at the same rate or a higher one."""
    then, noise, rate = (float(found.evidence[name]) for name in ("level", "noise", "lr"))
    losses = record.history("loss").finite()
    late = losses.since(found.step + 1).values
    if late.size < len(losses) // _PIECES or record.lr < _SAME * rate:
        return False
    now = float(late[-(len(losses) // _PIECES) :].mean())
    return now < then - max(_FELL * abs(then), _BEYOND * noise)


def _decrease(means: list[float]) -> float:
    """Return the decrease from one half of the pieces to the other, over the loss."""
    early, late = (float(np.mean(half)) for half in np.array_split(means, 2))
    return (early - late) / abs(late) if late else 0.0


RULE = Rule(
    code="plateau",
    title="Plateau",
    severity="info",
    meaning=(
        "Over the second half of the run so far the loss fell by less than its noise, and by less than 1% between the "
        "halves of that window. At a constant learning rate, this is where the noise of the steps balances their "
        "progress. A lower learning rate gets further."
    ),
    signals=("loss", "lr"),
    reference="Smith et al., Don't decay the learning rate, increase the batch size, 2018",
    how_to_check="Ruled out if the loss falls by more than 2.5 standard deviations over the same window.",
    check=_check,
    twice=True,
    holds=True,
    refuted=_refuted,
)
