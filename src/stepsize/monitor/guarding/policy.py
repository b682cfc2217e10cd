"""What to do about trouble: a pure function of what happened so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

__all__ = ["Act", "Policy", "State", "Trouble", "decide", "multiplier"]

Kind: TypeAlias = Literal["replay", "rollback", "skip", "cut", "cap", "stop"]


@dataclass(frozen=True)
class Trouble:
    """What went wrong.

    Attributes:
        step: At which effective step it was seen, from 0.
        batch: The number of the batch, as drawn from the source.
        reason: As a sentence without a full stop.
        excess: The rate in use over the one to be expected, where that is what is wrong; else 1.
        lasting: Whether it lasts for many steps, so that no single batch is at fault.
        width: The number of batches of the update; ``batch`` is the last of them.
    """

    step: int
    batch: int
    reason: str
    excess: float = 1.0
    lasting: bool = False
    width: int = 1


@dataclass(frozen=True)
class Policy:
    """How a guard acts.

    Attributes:
        cut: By what the rate is multiplied, in (0, 1).
        rewarm: Over how many steps a rate that was cut for a replay comes back.
        retries: After how many acts without ``settled`` good steps it stops.
        settled: How many good steps close an incident.
        skip: Whether batches that are found at fault are left out; else the rate stays cut.
        replays: Whether batches can be drawn again; if not, the training goes on with those that follow.
    """

    cut: float
    rewarm: int
    retries: int
    settled: int
    skip: bool = True
    replays: bool = True


@dataclass(frozen=True)
class State:
    """What a guard remembers.

    Attributes:
        level: The lasting multiplier of the rate.
        low_from: The step from which a replay runs at the cut rate; None outside of one.
        low_until: The step at which the rate begins to come back.
        incident: The trouble of the open incident; None where there is none.
        acts: How many acts it took so far.
        capped: Whether the rate may not rise above that of the good steps any more.
    """

    level: float = 1.0
    low_from: int | None = None
    low_until: int = 0
    incident: Trouble | None = None
    acts: int = 0
    capped: bool = False


@dataclass(frozen=True)
class Act:
    """What is done.

    Attributes:
        kind: ``"replay"``: back, and the same batches at the cut rate; ``"rollback"``: back, and on with the batches
            that follow, at the cut rate; ``"skip"``: back, and on without the batches at
            fault; ``"cut"``: back, at a rate that stays cut; ``"cap"``: back, and never again above the rate before;
            ``"stop"``: back, and the end.
        why: As a sentence.
        skipped: The batches that are left out, by number.
    """

    kind: Kind
    why: str
    skipped: tuple[int, ...] = ()


def decide(policy: Policy, state: State, trouble: Trouble, back_to: int) -> tuple[Act, State]:
    """Return what to do about ``trouble`` when going back to step ``back_to``, and what to remember.

    The first time, the same batches are replayed at the cut rate: that answers whether it was the rate or the data.
    Trouble at the same batch again blames the data, which are then skipped; trouble elsewhere blames the rate, whose
    cut then stays. Trouble that lasts blames the rate at once, which is cut twice. What passes was chance or a rate
    just too high for a moment, and the rate comes back.
    """
    last = state.incident
    acts = state.acts + 1
    if acts > policy.retries:
        why = f"{trouble.reason}, after {policy.retries} attempts to mend it"
        return Act("stop", why), replace(state, incident=trouble, acts=acts)
    if trouble.excess > 1:
        return Act("cap", f"{trouble.reason}: a mistake"), replace(state, capped=True, incident=trouble, acts=acts)
    if trouble.lasting:  # a rate that is a little too high does not do that
        level = state.level * policy.cut**2
        cut = replace(state, incident=trouble, acts=acts, level=level, low_from=None)
        return Act("cut", f"{trouble.reason}, and that lasts: it is the rate"), cut
    low = replace(state, incident=trouble, acts=acts, low_from=back_to, low_until=trouble.step + 1)
    if not policy.replays:
        return _decide_onward(policy, state, trouble, acts)
    if last is None or state.acts == 0:
        why = f"{trouble.reason}; the same batches are replayed at {policy.cut:g}× the rate"
        return Act("replay", why), low
    same = abs(trouble.batch - last.batch) <= trouble.width
    if same and policy.skip:
        low_end, high_end = sorted((last.batch, trouble.batch))
        batches = tuple(range(max(0, low_end - trouble.width), high_end + 1))
        why = f"{trouble.reason}, again at the same batch at {policy.cut:g}× the rate: it is the data"
        return Act("skip", why, batches), replace(low, low_from=None)
    why = f"{trouble.reason}, again " + ("at the same batch" if same else "on other batches: it is the rate")
    return Act("cut", why), replace(low, level=state.level * policy.cut, low_from=None)


def _decide_onward(policy: Policy, state: State, trouble: Trouble, acts: int) -> tuple[Act, State]:
    """Return what to do where batches cannot be replayed: the rate is cut for a while, the second time for good."""
    cut = replace(state, incident=trouble, acts=acts, low_from=trouble.step + 1, low_until=trouble.step + 1)
    if state.incident is None or state.acts == 0:
        why = f"{trouble.reason}; it goes on with the batches that follow, at {policy.cut:g}× the rate"
        return Act("rollback", why), cut
    why = f"{trouble.reason}, again on other batches: it is the rate"
    return Act("cut", why), replace(cut, level=state.level * policy.cut, low_from=None)


def multiplier(policy: Policy, state: State, step: int) -> float:
    """Return by what the rate of ``step`` is multiplied.

    Example:
        >>> policy = Policy(cut=0.5, rewarm=4, retries=3, settled=50)
        >>> state = State(low_from=10, low_until=20)
        >>> [multiplier(policy, state, step) for step in (9, 10, 19, 20, 22, 24)]
        [1.0, 0.5, 0.5, 0.5, 0.75, 1.0]
    """
    if state.low_from is None or step < state.low_from:
        return state.level
    back = min(1.0, max(0, step - state.low_until) / max(1, policy.rewarm))
    return state.level * (policy.cut + (1 - policy.cut) * back)
