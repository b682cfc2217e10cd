"""What a guard decides, as a pure function of what happened."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stepsize.monitor.guarding.batches import Replayable
from stepsize.monitor.guarding.policy import Fault, Policy, State, decide, multiplier, settled_after

POLICY = Policy(cut=0.5, rewarm=10, retries=3, settled=40)


def _fault(step: int, batch: int | None = None, excess: float = 1.0) -> Fault:
    return Fault(step, step if batch is None else batch, "the loss is not finite", excess)


def test_first_a_replay_at_the_cut_rate_that_comes_back() -> None:
    act, state = decide(POLICY, State(), _fault(30), 20)
    assert act.kind == "replay"
    # cut from 20 until behind step 30, then back over 10 steps
    assert [multiplier(POLICY, state, step) for step in (19, 20, 30, 31, 36, 41, 99)] == [1, 0.5, 0.5, 0.5, 0.75, 1, 1]


def test_the_same_batch_again_is_the_data() -> None:
    _, state = decide(POLICY, State(), _fault(30), 20)
    act, state = decide(POLICY, state, _fault(30), 20)
    assert act.kind == "skip"
    assert act.skipped == (30,)
    assert "caused by the data" in act.why
    assert multiplier(POLICY, state, 25) == 1


def test_if_it_fails_again_without_that_batch_the_update_before_it_is_left_out_too() -> None:
    for width, skipped, more in ((1, (30,), (29, 30, 31)), (4, (27, 28, 29, 30), tuple(range(23, 35)))):
        fault = replace(_fault(30), width=width)
        _, state = decide(POLICY, State(), fault, 20)
        act, state = decide(POLICY, state, fault, 20)
        assert (act.kind, act.skipped) == ("skip", skipped)
        act, _ = decide(POLICY, state, replace(_fault(30 + width), width=width), 20)
        assert (act.kind, act.skipped) == ("skip", more)


def test_without_skipping_the_same_batch_again_cuts_the_rate() -> None:
    policy = Policy(cut=0.5, rewarm=10, retries=3, settled=40, skip=False)
    _, state = decide(policy, State(), _fault(30), 20)
    act, state = decide(policy, state, _fault(30), 20)
    assert (act.kind, act.skipped) == ("cut", ())
    assert act.why == "the loss is not finite, again at the same batch: the learning rate is cut to 0.5×"
    assert multiplier(policy, state, 500) == 0.5


def test_another_batch_is_the_rate_whose_cut_stays() -> None:
    _, state = decide(POLICY, State(), _fault(30), 20)
    act, state = decide(POLICY, state, _fault(36), 20)
    assert act.kind == "cut"
    assert multiplier(POLICY, state, 500) == 0.5


def test_a_cut_is_taken_back_if_the_data_were_the_cause() -> None:
    state = State()
    for step, kind in ((30, "replay"), (50, "cut"), (50, "skip")):
        act, state = decide(POLICY, state, _fault(step), 20)
        assert act.kind == kind
    assert [multiplier(POLICY, state, step) for step in (20, 50, 61, 500)] == [0.5, 0.5, 1, 1]


def test_a_batch_that_failed_before_another_one_did_is_the_data() -> None:
    state, acts = State(), []
    for step in (30, 50, 30):
        act, state = decide(POLICY, state, _fault(step), 20)
        acts.append(act)
    assert [one.kind for one in acts] == ["replay", "cut", "skip"]
    assert acts[-1].skipped == (30,)
    assert multiplier(POLICY, state, 500) == 1


def test_after_long_updates_the_same_batch_again_is_still_the_rate() -> None:
    state, policy = State(), replace(POLICY, retries=5)
    for step, kind in ((30, "replay"), (36, "cut"), (36, "cut")):
        act, state = decide(policy, state, replace(_fault(step), long=True), 20)
        assert act.kind == kind
    assert multiplier(policy, state, 500) == 0.25
    act, state = decide(policy, state, replace(_fault(20), long=True, reached=0.125), 0)
    assert (act.kind, state.level) == ("cut", 0.125 / 25)
    assert "restarting at 1/25 of the lowest learning rate that failed" in act.why


def test_an_incident_ends_soon_after_its_batches_were_left_out() -> None:
    _, state = decide(POLICY, State(), _fault(30), 20)
    assert settled_after(POLICY, state) == POLICY.settled
    _, state = decide(POLICY, state, _fault(30), 20)
    assert settled_after(POLICY, state) == 8


def test_a_fault_that_persists_from_the_start_restarts_far_below_once() -> None:
    lasting = Fault(9, 9, "the loss is 9", lasting=True, reached=0.5)
    act, state = decide(POLICY, State(), lasting, 0)
    assert (act.kind, state.level) == ("cut", 0.02)
    act, state = decide(POLICY, state, lasting, 0)
    assert (act.kind, state.level) == ("cut", 0.02 * 0.25)
    assert decide(POLICY, State(), lasting, 20)[1].level == 0.25  # something was learned before


def test_a_restart_goes_by_the_lowest_rate_that_failed() -> None:
    _, state = decide(POLICY, State(), replace(_fault(15), reached=0.8), 10)
    _, state = decide(POLICY, state, replace(_fault(12), reached=0.4), 10)
    _, state = decide(POLICY, state, replace(_fault(19), long=True, reached=0.6), 0)
    assert state.level == 0.4 / 25


def test_after_updates_that_replaced_the_weights_a_restart_is_near_the_usual_rate() -> None:
    lasting = Fault(1, 1, "the loss is 9e9", lasting=True, reached=0.5, usual=2**-12)
    act, state = decide(POLICY, State(), lasting, 0)
    assert state.level == 3 * 2**-12
    assert "restarting at three times the usual learning rate" in act.why
    assert decide(POLICY, State(), replace(lasting, usual=0.1), 0)[1].level == 0.02  # never above what failed


def test_after_a_batch_was_left_out_another_one_is_another_incident() -> None:
    state = State()
    dense = state
    kinds = []
    for batch in range(30, 60):  # one after the other: the data are beyond help
        act, dense = decide(POLICY, dense, _fault(batch), 20)
        kinds.append(act.kind)
    assert "stop" in kinds
    for batch in range(30, 330, 20):  # as often as one likes
        for kind in ("replay", "skip"):
            act, state = decide(POLICY, state, _fault(batch), batch - 10)
            assert act.kind == kind


def test_a_rate_beyond_what_was_expected_is_capped() -> None:
    act, state = decide(POLICY, State(), _fault(30, excess=30.0), 20)
    assert act.kind == "cap"
    assert state.capped
    assert multiplier(POLICY, state, 40) == 1


@given(st.lists(st.integers(0, 60), min_size=4, max_size=12))
def test_it_stops_after_its_retries_whatever_happens(steps: list[int]) -> None:
    """If batches are left out, those that come soon after count as well; others begin anew."""
    state, kinds, policy = State(), [], replace(POLICY, skip=False)
    for step in steps:
        act, state = decide(policy, state, _fault(step), max(0, step - 5))
        kinds.append(act.kind)
    assert kinds[POLICY.retries] == "stop"
    assert "stop" not in kinds[: POLICY.retries]
    assert 0 < state.level <= 1


@given(st.lists(st.integers(0, 30), max_size=20), st.sets(st.integers(0, 40)))
def test_batches_go_back_and_leave_out(places: list[int], skipped: set[int]) -> None:
    batches = Replayable(range(50))
    for place in places:
        while batches.position < place:
            next(batches)
        batches.go_back(min(place, batches.position))
    batches.go_back(0)
    batches.skip(skipped)
    assert list(batches) == [number for number in range(50) if number not in skipped]
