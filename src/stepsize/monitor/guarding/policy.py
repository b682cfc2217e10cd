"""What to do about a fault: a pure function of what happened so far."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepsize.monitor.guarding.action import GuardAction, Kind

_RESTART = 1 / 25  # of the lowest rate that failed: in benchmarks/lr_record, the best is typically 10 to 50 times lower
_USUAL = 3.0  # times the usual rate, if updates replaced the weights: a rate far too high says nothing about a good one
_APART = 8  # updates between two bad batches that have nothing to do with each other


@dataclass(frozen=True)
class Fault:
    """What went wrong."""

    step: int  # at which it was detected, from 0
    batch: int  # number of the batch, as drawn from the source
    reason: str  # without a full stop
    excess: float = 1.0  # learning rate in use over the expected one, if that is the fault
    lasting: bool = False  # whether it persists for many steps, so that no single batch is the cause
    width: int = 1  # number of batches of the update; ``batch`` is the last of them
    long: bool = False  # whether updates before it were long compared with the weights
    reached: float = 1.0  # learning rate in use when it began, over the peak of the schedule
    usual: float | None = None  # level at which the peak is the usual learning rate, if an update replaced the weights


@dataclass(frozen=True)
class Policy:
    """How a guard acts."""

    cut: float  # multiplier of the learning rate, in (0, 1)
    rewarm: int  # steps over which a learning rate that was cut for a replay recovers
    retries: int  # actions in one incident after which it stops
    settled: int  # good steps that close an incident
    skip: bool = True  # whether batches that cause a fault are left out; if not, the learning rate stays cut
    replays: bool = True  # whether batches can be drawn again; if not, training continues with those that follow


@dataclass(frozen=True)
class State:
    """What a guard remembers."""

    level: float = 1.0  # lasting multiplier of the learning rate
    low_from: int | None = None  # step from which a replay runs at the cut learning rate
    low_until: int = 0  # step at which the learning rate begins to recover
    incident: Fault | None = None  # fault of the open incident
    actions: int = 0  # in it
    failed: tuple[int, ...] = ()  # batches at which it failed
    capped: bool = False  # whether the learning rate can no longer exceed that of the good steps
    skipped: bool = False  # whether the last action left out a batch
    blamed: bool = False  # whether the last action cut the learning rate because two batches failed
    restarted: bool = False  # whether it began anew at a fraction of the learning rate that failed


def decide(policy: Policy, state: State, fault: Fault, back_to: int) -> tuple[GuardAction, State]:
    """Return what to do about ``fault`` when rolling back to step ``back_to``, and what to remember.

    The first time, the same batches are replayed at the cut learning rate: that shows whether the learning rate or the
    data is the cause. A second fault at the same batch points to the data: those batches are skipped, and those of the
    update before it if that does not help. A fault elsewhere points to the learning rate: it stays cut. A fault that
    persists points to the learning rate immediately, which is cut twice; if the run begins anew, at step 0, to 1/25 of
    the lowest rate that failed, and to at most three times the usual one of the optimizer if updates replaced the
    weights. If the replay passes, the learning rate recovers. A cut after which the same batch fails again is taken
    back: the data were the cause, unless long updates point to the learning rate.
    """
    kind, why, skipped, state = _decided(policy, state, fault, back_to)
    low = None if state.low_from is None else state.low_until
    return GuardAction(kind, fault.step, back_to, state.level, low, skipped, why), state


def _decided(policy: Policy, state: State, fault: Fault, back_to: int) -> tuple[Kind, str, tuple[int, ...], State]:
    last = state.incident
    if state.skipped and last is not None and fault.batch > last.batch + _APART * fault.width:
        state = replace(state, actions=0)  # that was the cause; another bad batch is another incident
    before = state
    failed = (*(before.failed if before.actions else ()), fault.batch)
    again = before.actions > 0
    lowest = min(fault.reached, last.reached) if again and last is not None else fault.reached
    incident, actions = replace(fault, reached=lowest), before.actions + 1
    state = replace(before, incident=incident, actions=actions, failed=failed, skipped=False, blamed=False)
    if state.actions > policy.retries:
        return "stop", f"{fault.reason}; giving up after {policy.retries} recovery attempts", (), state
    if fault.excess > 1:
        why = f"{fault.reason}: treated as a mistake; the learning rate is capped"
        return "cap", why, (), replace(state, capped=True)
    if (fault.lasting or (again and fault.long)) and back_to == 0 and not state.restarted:
        level, part = lowest * _RESTART, "1/25 of the lowest learning rate that failed"
        if fault.usual is not None and level > _USUAL * fault.usual:
            level, part = _USUAL * fault.usual, "three times the usual learning rate of the optimizer"
        what = "that persists" if fault.lasting else "again"
        why = f"{fault.reason}, and {what}: restarting at {part}, {level:.2g}×"
        return "cut", why, (), replace(state, level=level, low_from=None, restarted=True)
    if fault.lasting:  # a learning rate that is a little too high does not do that
        level = state.level * policy.cut**2
        why = f"{fault.reason}, and that persists: caused by the learning rate, which is cut to {level:g}×"
        return "cut", why, (), replace(state, level=level, low_from=None)
    level = state.level * policy.cut
    elsewhere = f"{fault.reason}, again on other batches: caused by the learning rate, which is cut to {level:g}×"
    if not policy.replays:
        low = replace(state, low_from=fault.step + 1, low_until=fault.step + 1)
        if again:
            return "cut", elsewhere, (), replace(low, level=level, low_from=None)
        why = f"{fault.reason}; continuing with the next batches at {policy.cut:g}× the learning rate"
        return "rollback", why, (), low
    low = replace(state, low_from=back_to, low_until=fault.step + 1)
    if not again:
        why = f"{fault.reason}; replaying the same batches at {policy.cut:g}× the learning rate"
        return "replay", why, (), low
    same = [batch for batch in failed[:-1] if abs(fault.batch - batch) <= fault.width]
    if same and policy.skip and not (before.blamed and fault.long):
        first, end = min(*same, fault.batch), max(*same, fault.batch)
        updates = 2 if before.skipped else 1  # that before it can have harmed the weights: next, if it fails again
        batches = tuple(range(max(0, first + 1 - updates * fault.width), end + 1))
        why = f"{fault.reason}, again at the same batch at {policy.cut:g}× the learning rate: caused by the data"
        if before.blamed:  # not by the rate, which recovers once batches that passed only at the cut rate have passed
            return "skip", why, batches, replace(low, level=state.level / policy.cut, skipped=True)
        return "skip", why, batches, replace(low, low_from=None, skipped=True)
    why = f"{fault.reason}, again at the same batch: the learning rate is cut to {level:g}×" if same else elsewhere
    return "cut", why, (), replace(low, level=level, low_from=None, blamed=True)


def settled_after(policy: Policy, state: State) -> int:
    """Return how many good steps close an incident: fewer once the batches that caused it were left out."""
    return min(policy.settled, _APART) if state.skipped else policy.settled


def multiplier(policy: Policy, state: State, step: int) -> float:
    """Return the multiplier of the learning rate of ``step``.

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
