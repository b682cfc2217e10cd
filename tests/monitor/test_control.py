"""Orders to a running training: carried out between two updates, in the journal, and the same in a replay."""

from __future__ import annotations

import json
import math
import select
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.beside import Program
from tests.monitor import steered_run
from tests.monitor.loops import update
from tests.monitor.ranks import told_by_two
from tests.store.conftest import postgres as postgres
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, ReduceLROnPlateau

import stepsize
from stepsize.errors import InputError
from stepsize.monitor import Guard, Watch
from stepsize.monitor.control import ENDED, Control
from stepsize.monitor.saved_runs import list_runs
from stepsize.schedules import from_journal
from stepsize.store import OrderRecord, Store

STEPS = 60


@pytest.fixture
def where(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


class Run:
    """A training of which each order is handed over at a given step, as the store's thread would."""

    def __init__(
        self,
        make: Callable[[nn.Module], Optimizer] = lambda net: SGD(net.parameters(), lr=0.05),
        schedule: Callable[[Optimizer], Any] = lambda optimizer: None,
        steps: int = STEPS,
        live: Callable[..., Watch | Guard] = stepsize.watch,
    ) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.optimizer = make(self.net)
        self.schedule = schedule(self.optimizer)
        self.data = torch.randn(4 * steps, 16, 4)
        self.rates: list[list[float]] = []
        self.optimizer.register_step_post_hook(lambda *_: self.rates.append(self._present()))
        self.live = live(self.net, self.optimizer, schedule=self.schedule, steps=steps)
        self.watching = self.live.watching if isinstance(self.live, Guard) else self.live
        self.losses: list[float] = []
        self.sent = 0

    def _present(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def order(self, verb: str, **arguments: Any) -> None:
        self.sent += 1
        given = stepsize.store.orders.check_order(verb, arguments)
        self.control.inbox.append(OrderRecord(self.sent, verb, given, "ann", datetime.now(UTC)))

    @property
    def control(self) -> Control:
        return self.watching.control

    @property
    def journal(self) -> dict[int, OrderRecord]:
        return {one.number: one for one in self.control.outbox}

    def until(self, step: int) -> Run:
        """Train until so many steps were made."""
        while len(self.rates) < step:
            loss = update(self.net, self.optimizer, self.data[len(self.rates)])
            if isinstance(self.schedule, ReduceLROnPlateau):
                self.schedule.step(1.0)
            elif self.schedule is not None:
                self.schedule.step()
            self.losses.append(loss.item())
            self.live.step(loss)
        return self

    def weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.net.parameters()])

    def lr(self, step: int, group: int = 0) -> float:
        return self.rates[step][group]


def bound(text: str = "cosine", **options: Any) -> Callable[[Optimizer], Any]:
    return lambda optimizer: stepsize.bind(text, optimizer, steps=STEPS, **options)


def exponential(optimizer: Optimizer) -> Any:
    return ExponentialLR(optimizer, 0.99)


def nothing(optimizer: Optimizer) -> None:
    return None


MAKES: dict[str, Any] = {
    "sgd": lambda net: SGD(net.parameters(), lr=0.05),
    "tensor": lambda net: AdamW(net.parameters(), lr=torch.tensor(0.01)),
    "groups": lambda net: SGD(
        [{"params": net[0].parameters(), "lr": 0.1}, {"params": net[2].parameters(), "lr": 0.01}]
    ),
}
SCHEDULES: dict[str, Any] = {
    "nothing": nothing,
    "bound": bound("constant"),
    "exponential": exponential,
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, 200),
    "plateau": lambda optimizer: ReduceLROnPlateau(optimizer, patience=10),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
@pytest.mark.parametrize("text", [None, "constant", "cosine warmup=10%"])
def test_a_journal_replays_to_the_same_weights_bit_for_bit(make: Any, text: str | None) -> None:
    schedule = nothing if text is None else bound(text)
    run = Run(make, schedule)
    tensor = run.optimizer.param_groups[0]["lr"]
    for step, verb, arguments in (
        (7, "scale", {"factor": 0.3}), (12, "hold", {}), (20, "resume", {}), (25, "snapshot", {}),
        (30, "scale", {"factor": 2.0}), (40, "cooldown", {"steps": 30}), (45, "scale", {"factor": 0.7}),
    ):  # fmt: skip
        run.until(step).order(verb, **arguments)
    run.until(STEPS)
    run.live.close()
    assert [one.state for one in run.journal.values()] == ["applied"] * 7
    assert [one.step for one in run.journal.values()] == [8, 13, 21, 26, 31, 41, 46]
    assert type(run.optimizer.param_groups[0]["lr"]) is type(tensor)

    second = Run(make, lambda optimizer: stepsize.bind(from_journal(
        run.journal.values(), text or "constant", steps=None if text is None else STEPS), optimizer))  # fmt: skip
    second.until(STEPS)
    assert second.rates == run.rates
    assert torch.equal(second.weights(), run.weights())
    assert not torch.equal(Run(make, schedule).until(STEPS).weights(), run.weights())


@pytest.mark.filterwarnings("ignore:The schedule ended at step 55 but training continues")
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_ratios_of_groups_survive_whoever_sets_the_rate(schedule: Any) -> None:
    def make(net: Any) -> Optimizer:
        return SGD([{"params": net[0].parameters(), "lr": 0.05}, {"params": net[2].parameters(), "lr": 0.01}])

    plain = Run(make, schedule).until(STEPS)
    run = Run(make, schedule).until(9)
    run.order("scale", factor=0.5)
    run.until(20).order("scale", factor=4.0, group="1")
    run.until(30).order("hold")
    run.until(40).order("resume")
    run.until(50).order("cooldown", steps=4)
    run.until(STEPS)
    assert [one.state for one in run.journal.values()] == ["applied"] * 5, run.journal
    for step in range(STEPS):
        first, other = (run.lr(step, group) / plain.lr(step, group) for group in (0, 1))
        if step < 10 or 10 <= step < 31:
            assert first == pytest.approx(1 if step < 10 else 0.5)
        if 21 <= step < 50:
            assert other == pytest.approx(4 * first)
        if 31 <= step < 41:
            assert run.rates[step] == pytest.approx(run.rates[31])
    assert [run.lr(step) for step in (51, 52, 53, 54, 55, 59)] == pytest.approx(
        [run.lr(51) * left for left in (1, 0.75, 0.5, 0.25, 0, 0)])  # fmt: skip
    assert run.lr(41) == pytest.approx(run.lr(40), rel=0.02)  # without a jump
    assert run.watching.stopped == "the cooldown that was ordered has ended"
    assert run.watching.should_stop


def test_what_is_recorded_is_what_was_applied() -> None:
    run = Run(schedule=lambda optimizer: ExponentialLR(optimizer, 0.9)).until(9)
    run.order("scale", factor=0.5)
    run.until(STEPS)
    run.watching.report()
    assert run.watching.record.history("lr/0").values.tolist() == pytest.approx([lr for [lr] in run.rates])


def test_the_journal_has_the_loss_before_and_after() -> None:
    run = Run().until(30)
    run.order("scale", factor=0.5)
    run.until(31)
    done = run.journal[1]
    assert done.reply == "The learning rate is 0.025 instead of 0.05."
    assert (done.step, done.loss_after) == (31, None)
    assert done.loss_before == pytest.approx(sum(run.losses[15:31]) / 16)
    run.until(STEPS)
    assert run.journal[1].loss_after == pytest.approx(sum(run.losses[31:47]) / 16)
    run.order("snapshot")
    run.until(STEPS + 5)
    assert run.journal[2].reply.startswith("A snapshot of step 61 was saved (0.0 MB)")
    run.live.close()
    assert run.journal[2].loss_after == pytest.approx(sum(run.losses[61:]) / 4)


@pytest.mark.parametrize("live", [stepsize.watch, stepsize.guard])
@pytest.mark.parametrize("schedule", [nothing, bound("linear"), exponential], ids=["nothing", "bound", "torch"])
def test_undo_restores_weights_and_rate_and_the_steps_go_on(schedule: Any, live: Any) -> None:
    plain = Run(schedule=schedule, live=live).until(STEPS)
    run = Run(schedule=schedule, live=live).until(20)
    run.order("snapshot")
    run.until(21)
    before = run.weights()
    run.order("scale", factor=1e4, confirmed=True)
    run.until(22).order("hold")
    run.until(23)
    assert [one.state for one in run.journal.values()] == ["applied"] * 3, run.journal
    harmed = run.weights()
    run.order("undo")
    run.until(24)  # at whose end the hold is undone
    run.order("undo")
    x = run.data[24]
    run.until(25)
    assert not torch.equal(harmed, before)
    assert run.journal[5].reply.startswith("Weights and optimizer are those of step 22, before order 2 (scale)")
    run.order("undo")
    run.until(26)
    assert torch.equal(run.weights(), before)
    run.order("undo")
    run.until(STEPS)
    assert run.journal[7].state == "refused"
    assert run.journal[7].reply == "undo needs a change before it, one of the last 3."
    assert [lr for [lr] in run.rates[26:]] == pytest.approx([lr for [lr] in plain.rates[26:]])
    assert run.losses[-1] < 1.0
    assert x.isfinite().all()


def test_extend_and_stop_end_the_loop_later_and_sooner() -> None:
    run = Run(schedule=bound("linear")).until(30)
    run.order("extend", steps=STEPS)
    run.until(STEPS)
    assert run.journal[1].reply == "The horizon is 60 steps longer: 120 steps."
    assert run.watching.steps == 120
    assert not run.watching.should_stop
    assert run.lr(59) == pytest.approx(0.05 * (1 - 31 / 60) * (1 - 28 / 89))
    run.order("stop")
    run.until(61)
    assert run.watching.stopped == "ann ordered a stop"
    assert run.watching.should_stop


@pytest.mark.parametrize(
    ("verb", "arguments", "reply"),
    [
        ("resume", {}, "resume must follow a hold or a cooldown."),
        ("undo", {}, "undo needs a change before it, one of the last 3."),
        (
            "extend",
            {"steps": 5},
            "extend needs a schedule with an end. Bind one with stepsize.bind before the run is w",
        ),
        ("scale", {"factor": 2.0, "group": "7"}, "group must be the name of a group, or a number from 0 to 0."),
        ("scale", {"factor": 2.0, "group": "²"}, "group must be the name of a group"),
        ("scale", {"factor": 1e308, "confirmed": True}, "factor leads to a learning rate of inf."),
        ("scale", {"factor": 5e-324, "confirmed": True}, "factor leads to a learning rate of 0."),
    ],
)
@pytest.mark.parametrize("schedule", [nothing, bound("constant")], ids=["nothing", "bound"])
def test_what_is_not_possible_changes_nothing(verb: str, arguments: Any, reply: str, schedule: Any) -> None:
    if verb == "extend" and schedule is not nothing:
        pytest.skip("a bound schedule can be extended")
    run = Run(lambda net: SGD(net.parameters(), lr=30.0 if arguments.get("factor") == 1e308 else 0.05), schedule)
    run.until(5).order(verb, **arguments)
    run.until(10)
    assert (run.journal[1].state, run.journal[1].reply[: len(reply)]) == ("refused", reply)
    assert len({lr for [lr] in run.rates}) == 1
    run.order("scale", factor=0.5)
    run.until(12)
    assert run.journal[2].state == "applied"
    assert run.lr(11) == run.lr(0) / 2


def test_a_group_is_known_by_its_name() -> None:
    def make(net: Any) -> Optimizer:
        body, head = net[0].parameters(), net[2].parameters()
        return SGD([{"params": body, "name": "body"}, {"params": head, "name": "head"}], lr=0.05)

    run = Run(make, bound("cosine")).until(5)
    run.order("scale", factor=0.5, group="head")
    run.until(10)
    assert run.journal[1].reply.startswith("The learning rate of group 1 is 0.02")
    assert run.lr(8, 1) == run.lr(8, 0) / 2
    base = stepsize.schedules.parse("cosine").over(STEPS)
    replayed = [from_journal(run.journal.values(), base, group=at)(8) * 0.05 for at in (0, 1)]
    assert replayed == run.rates[8]


@pytest.mark.parametrize("text", ["constant", "linear"])
def test_a_guard_does_not_take_an_order_for_a_fault(text: str) -> None:
    run = Run(schedule=bound(text), live=stepsize.guard).until(30)
    if text == "constant":
        run.order("scale", factor=8.0)
    else:
        run.order("hold")
    run.until(STEPS)
    assert run.lr(59) == (0.4 if text == "constant" else pytest.approx(0.05 * (1 - 31 / 60)))
    assert run.live.actions == ()  # type: ignore[union-attr]


def test_a_guard_that_rolls_back_keeps_the_orders() -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 1)
    optimizer = SGD(net.parameters(), lr=0.05)
    schedule = stepsize.bind("linear", optimizer, steps=100)
    rates: dict[int, list[float]] = {}
    with stepsize.guard(net, optimizer, schedule=schedule, steps=100, every=10) as guarding:
        for number, x in enumerate(guarding.batches(torch.randn(100, 16, 4))):
            step = guarding.step_number
            if step == 25 and 25 not in rates:
                order = OrderRecord(1, "scale", {"factor": 0.5, "group": None}, "ann", datetime.now(UTC))
                guarding.watching.control.inbox.append(order)
            loss = update(net, optimizer, x, spoiled=math.nan if number == 32 else None)
            rates.setdefault(step, []).append(optimizer.param_groups[0]["lr"])
            guarding.step(loss)
    assert [one.kind for one in guarding.actions] == ["replay"]
    for step in (24, 25, 26, 27, 30, 90):
        assert rates[step][-1] == pytest.approx(0.05 * (1 - step / 100) * (0.5 if step > 25 else 1)), step
    assert len(rates[31]) == 2


def test_the_state_of_a_bound_scheduler_continues_the_steered_schedule() -> None:
    run = Run(schedule=bound("cosine")).until(10)
    run.order("scale", factor=0.5)
    run.until(20).order("cooldown", steps=30)
    run.until(30)
    saved = run.schedule.state_dict()
    second = Run(schedule=bound("cosine"))
    second.schedule.load_state_dict(saved)
    run.until(40)
    second.until(10)
    assert second.rates == run.rates[30:]


@pytest.mark.parametrize("both", [False, True], ids=["watch", "watch and schedule"])
@pytest.mark.parametrize("schedule", [nothing, exponential, bound("linear")], ids=["nothing", "torch", "bound"])
def test_a_run_that_is_resumed_is_steered_on(schedule: Any, both: bool) -> None:
    run = Run(schedule=schedule).until(10)
    run.order("scale", factor=0.5, group="0")
    run.until(20).order("hold")
    run.until(30)
    watched, own, optimized = run.watching.state_dict(), None, run.optimizer.state_dict()
    if schedule is not nothing:
        own = run.schedule.state_dict()
    assert json.loads(json.dumps(watched["control"])) == watched["control"]
    second = Run(schedule=schedule)
    second.optimizer.load_state_dict(optimized)
    if own is not None and (both or schedule is exponential):
        second.schedule.load_state_dict(own)
    second.watching.load_state_dict(watched)
    if own is not None and not both and schedule is not exponential:  # in the other order
        second.schedule.load_state_dict(own)
    run.order("resume")
    run.until(60)
    second.sent = run.sent
    second.order("resume")
    second.until(30)
    assert [one.state for one in second.journal.values()] == ["applied"], second.journal
    assert second.rates[1:] == run.rates[31:]
    assert second.rates[0] == run.rates[30]


# ------------------------------------------------------------------- with the store


def _answered(store: Store, number: int) -> OrderRecord:
    for _ in range(2_400):  # a minute
        found = store.orders("net", after=number - 1)[0]
        if found.state != "sent":
            return found
        time.sleep(0.025)
    raise AssertionError(f"order {number} was not answered")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store on either database; PostgreSQL where a server is given."""
    return str(tmp_path / "runs.db") if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.mark.timeout(300)
def test_a_training_in_another_process_takes_orders_at_once(place: str) -> None:
    assert steered_run.__file__ is not None
    with Store.open(place) as store, Program(steered_run.__file__, place) as process:
        assert select.select([process.stdout], [], [], 200)[0], "the training does not begin"
        assert process.stdout.readline() == "begun\n"
        while (state := store.watched("net")) is None or state.steps < 40:
            time.sleep(0.05)
        assert state.control
        done = _answered(store, store.send("net", "scale", {"factor": 0.5}, who="ann"))
        assert done.step is not None
        assert done.step < state.steps + 1_000  # it makes at most 200 a second, fewer where the machine is busy
        assert (done.state, done.who) == ("applied", "ann")
        assert done.reply == "The learning rate is 0.005 instead of 0.01."
        assert _answered(store, store.send("net", "resume")).state == "refused"
        assert _answered(store, store.send("net", "extend", {"steps": 500})).state == "applied"
        while (state := store.watched("net")) is None or state.steps < done.step + 32:  # the loss after it is kept
            time.sleep(0.05)
        stopped = _answered(store, store.send("net", "stop"))
        rates = json.loads(process.stdout.readline())
        assert process.wait(30) == 0
        study = store.study("net")
        assert study is not None
        assert study.status == "stopped"
        at, end = done.step, stopped.step
        assert end == len(rates)
        base = stepsize.schedules.parse("cosine").over(100_000)
        replayed = from_journal(store.orders("net"), base)
        assert rates == [0.01 * factor for factor in replayed(range(len(rates)))]
        assert rates[at] == pytest.approx(rates[at - 1] / 2, rel=1e-3)
        assert rates[:at] == [0.01 * factor for factor in base(range(at))]
        assert list_runs(store)[0].planned == 100_500
        first = store.orders("net")[0]
        assert first.loss_before is not None
        assert first.loss_after is not None
        assert first.loss_after < first.loss_before
        with pytest.raises(InputError, match="this one has ended"):
            store.send("net", "hold")


def test_an_order_that_comes_too_late_is_refused(where: str) -> None:
    net = nn.Linear(2, 1)
    with Store.open(where) as store:
        with stepsize.watch(net, SGD(net.parameters(), lr=0.1), store=where, name="net", control=True):
            while store.watched("net") is None:
                time.sleep(0.02)
            number = store.send("net", "hold")
        [order] = store.orders("net")
        assert (order.number, order.state, order.reply) == (number, "refused", ENDED)


def test_control_needs_a_store() -> None:
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=0.1)
    with pytest.raises(InputError, match="control needs a store, from which orders are taken"):
        stepsize.watch(net, optimizer, control=True)
    with pytest.raises(InputError, match="control must be True or False; got 1"):
        stepsize.guard(net, optimizer, store="x.db", control=1)  # type: ignore[arg-type]


def test_a_run_without_control_takes_no_order(where: str) -> None:
    net = nn.Linear(2, 1)
    with (
        Store.open(where) as store,
        stepsize.watch(net, SGD(net.parameters(), lr=0.1), store=where, name="net"),
        pytest.raises(InputError, match="must be a run that was started with control=True"),
    ):
        store.send("net", "stop")


_RANKS = """
from stepsize.store import OrderRecord

alone = sys.argv[4] == "alone"
net = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
bound = stepsize.bind("constant", optimizer, steps=200)
rates, sent = [], {20: ("scale", {"factor": 0.5, "group": None}), 40: ("hold", {}), 60: ("undo", {}), 90: ("stop", {})}
optimizer.register_step_post_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
watching = None if alone and rank else stepsize.watch(net, optimizer, schedule=bound, steps=200)
for step in range(200):
    loss = update(net, optimizer, torch.randn(32, 4, generator=generator))
    if watching is not None:
        if rank == 0 and step in sent:  # one of them has the store
            now = datetime.datetime.now(datetime.UTC)
            watching.control.inbox.append(OrderRecord(step, *sent[step], "ann", now))
        watching.step(loss)
        if watching.should_stop:
            break
if watching is not None:
    watching.close()
told = {
    "rates": rates, "weights": [p.detach().flatten().tolist() for p in net.parameters()],
    "broken": watching.broken if watching else "",
    "replies": [*{one.number: one.reply for one in watching.control.outbox}.values()] if watching else [],
}
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("alone", ["together", "alone"])
def test_all_processes_that_train_together_obey_at_the_same_update(tmp_path: Path, alone: str) -> None:
    one, two = told_by_two(_RANKS, tmp_path, alone)
    assert one["broken"] == two["broken"] == ""
    assert one["rates"] == two["rates"]
    assert one["weights"] == two["weights"]
    if alone == "alone":
        assert len(one["rates"]) == 200
        assert len(one["replies"]) == 4
        assert one["replies"][0] == "scale is not possible: several processes train together, and not all watch."
        return
    assert one["rates"] == [0.01] * 32 + [0.005] * 64  # they exchange at every sixteenth step
    assert [reply.split(" ")[0] for reply in one["replies"]] == ["The", "The", "Weights", "Training"]
