"""Orders to a running training: carried out between two updates, with a snapshot before each change."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, final

import numpy as np
from torch import nn
from torch.optim import Optimizer

from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.monitor.attached import factors_of
from stepsize.monitor.guarding.buffer import go_back
from stepsize.monitor.guarding.rates import RateLimiter
from stepsize.training.binding import driver_of
from stepsize.training.snapshot import Snapshot
from stepsize.training.steering import BoundRates, Done, OwnRates, group_number

if TYPE_CHECKING:
    from stepsize.monitor.record import Record
    from stepsize.store import OrderRecord

_LOG = logging.getLogger("stepsize")
_KEPT = 3  # snapshots, in host memory
_LOSSES = 16  # whose mean is the loss before and after an order
_LATE = 64  # steps after which the loss after an order is what is known
ENDED = "The run ended before this order was carried out."


@dataclass(frozen=True, eq=False)
class _Saved:
    """The state before an order."""

    order: OrderRecord
    step: int
    snapshot: Snapshot
    rates: Any
    steps: int | None
    mark: Any


@final
class Control:
    """Takes orders to a run and carries them out."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[Optimizer],
        record: Record,
        others: Iterable[Any],
        roll_back: Callable[[Any], None],
    ) -> None:
        self.inbox: deque[OrderRecord] = deque()  # waits for the next call of act(); another thread may add to it
        self.outbox: deque[OrderRecord] = deque()  # orders with what became of them, for the journal
        self.others = [one for one in others if hasattr(one, "load_state_dict")]  # which an undo restores, too
        self.refusals: dict[str, str] = {}  # why a command is not possible in this run, by its name; "" stands for all
        self.stopped: str | None = None  # why the run is to stop
        self.raised = 1.0  # factor by which orders have raised the learning rate
        self._models, self._optimizers, self._record = list(models), list(optimizers), record
        self._roll_back = roll_back
        self._rates: BoundRates | OwnRates | None = None
        self._limiter: RateLimiter | None = None
        self._saved: deque[_Saved] = deque(maxlen=_KEPT)
        self._applied: list[Done] = []
        self._open: list[tuple[int, OrderRecord]] = []  # those whose loss afterwards is not known yet

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do between the next updates."""
        return not self.inbox and not self._open and (self._rates is None or self._rates.ends is None)

    @property
    def orders(self) -> tuple[int, int]:
        """Number of orders that changed the run, and how many of them were to undo."""
        return len(self._applied), sum(verb == "undo" for verb, *_ in self._applied)

    def limiter(self) -> RateLimiter:
        """Return what changes rates for the moment of an update."""
        if self._limiter is None:
            self._limiter = RateLimiter(self._optimizers)
        return self._limiter

    def take(self) -> list[OrderRecord]:
        """Return the orders that wait."""
        return [self.inbox.popleft() for _ in range(len(self.inbox))]

    def act(self, orders: Sequence[OrderRecord]) -> None:
        """Carry out orders; called between two updates, in all processes of a run at the same one."""
        if self._rates is not None and not self._rates.ready:
            self.inbox.extend(orders)
            return
        for order in orders:
            self.outbox.append(self._done(order))
        self._close_open(_LATE)
        ends = None if self._rates is None else self._rates.ends
        if self._rates is not None and ends is not None and self._rates.step >= ends and self.stopped is None:
            self.stopped = "the cooldown that was ordered has ended"

    def restored(self) -> None:
        """Follow the orders again, after a guard has restored a scheduler that knew less of them."""
        if self._rates is not None:
            self._rates.set(self._rates.get())

    def state_dict(self) -> dict[str, Any]:
        """Return the orders that were carried out, for a checkpoint."""
        if self._rates is None or not self._applied:
            return {}
        orders = [[verb, {**arguments}, step, group] for verb, arguments, step, group in self._applied]
        steps = self._record.facts.steps
        return {"orders": orders, "raised": self.raised, "steps": steps, "rates": dict(self._rates.saved())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the orders that :meth:`state_dict` returned."""
        if not state:
            return
        self._applied = [(verb, arguments, int(step), group) for verb, arguments, step, group in state["orders"]]
        self.raised = float(state["raised"])
        rates = self._steered()
        rates.replay(self._applied, state["rates"])
        self._note_facts(rates, 0, state["steps"])

    def close(self) -> None:
        """Answer what is still open, and let go of the optimizers."""
        self._close_open(0)
        for order in self.take():
            self.outbox.append(replace(order, state="refused", reply=ENDED))
        if self._limiter is not None:
            self._limiter.remove()

    def _done(self, order: OrderRecord) -> OrderRecord:
        """Return an order with what became of it."""
        before, step = self._mean(-_LOSSES, 0), self._record.step
        rates = self._steered()
        kept = rates.get()
        try:
            refusal = self.refusals.get("") or self.refusals.get(order.verb)
            if refusal is not None:
                raise InputError("verb", order.verb, refusal)
            order = self._numbered(order)
            at, reply = rates.step, self._carry_out(order, rates)
        except Exception as error:  # noqa: BLE001 - an order must not end a training
            rates.set(kept)
            return replace(order, state="refused", reply=_sentence(order.verb, error))
        _LOG.info("stepsize: order %d of %s: %s", order.number, order.who, reply)
        done = replace(order, state="applied", reply=reply, step=at, loss_before=before)
        self._open.append((step, done))
        return done

    def _steered(self) -> BoundRates | OwnRates:
        if self._rates is None:
            bound = driver_of(self._optimizers)
            if bound is not None:
                self._rates = BoundRates(bound)
            else:
                self._rates = OwnRates(lambda: self._record.step - self._record.skipped)
                self.limiter().steer = self._rates.rate
        return self._rates

    def _numbered(self, order: OrderRecord) -> OrderRecord:
        """Return the order with its group by number."""
        name = order.arguments.get("group")
        if name is None:
            return order
        number = group_number(self._optimizers, name)
        if number is None:
            count = sum(len(one.param_groups) for one in self._optimizers)
            raise InputError("group", name, f"must be the name of a group, or a number from 0 to {count - 1}")
        return replace(order, arguments={**order.arguments, "group": str(number)})

    def _carry_out(self, order: OrderRecord, rates: BoundRates | OwnRates) -> str:
        """Carry out an order, and say so in a sentence; raises InputError if that is not possible."""
        if order.verb == "stop":
            self.stopped = f"{order.who} ordered a stop"
            return "Training stops after this update."
        if order.verb == "undo":
            return self._undo(rates)
        saved = self._save(order, rates)
        old = self._now(rates)
        given = order.arguments.get("group")
        group, at = None if given is None else int(given), rates.step
        rates.order(order.verb, order.arguments, group)
        new = self._now(rates)
        for one, other in zip(old, new, strict=True):
            if not np.isfinite(other) or (other <= 0 < one):
                raise InputError("factor", order.arguments.get("factor"), f"leads to a learning rate of {other:g}")
            self.raised *= max(1.0, other / one) if one > 0 else 1.0
        self._saved.append(saved)
        self._applied.append((order.verb, order.arguments, at, group))
        self._note_facts(rates, order.arguments.get("steps", 0) if order.verb == "extend" else 0)
        return _told(order, old, new, self._record.facts.steps, saved)

    def _save(self, order: OrderRecord, rates: BoundRates | OwnRates) -> _Saved:
        taken = Snapshot(modules=self._models, optimizers=self._optimizers, others=self.others, offload=True)
        return _Saved(order, rates.step, taken, rates.get(), self._record.facts.steps, self._record.mark())

    def _undo(self, rates: BoundRates | OwnRates) -> str:
        if not self._saved:
            raise InputError("verb", "undo", f"needs a change before it, one of the last {_KEPT}")
        saved, at = self._saved.pop(), rates.step
        rates.order("undo", {}, None)
        self._applied.append(("undo", {}, at, None))
        if isinstance(rates, OwnRates):
            rates.back_to(saved.rates)
        go_back(saved.snapshot, self._optimizers)
        rates.set(rates.get())  # the rates were restored, too
        self._roll_back(saved.mark)
        self.stopped = None
        self._note_facts(rates, 0, saved.steps)
        what = f"Weights and optimizer are those of step {saved.step:,}, before order {saved.order.number}"
        return f"{what} ({saved.order.verb}); the learning rate is {_rates_text(self._now(rates))}."

    def _now(self, rates: BoundRates | OwnRates) -> list[float]:
        """Return the learning rates of the next update."""
        given = [float(group["lr"]) for one in self._optimizers for group in one.param_groups]
        return given if isinstance(rates, BoundRates) else [rates.rate(at, lr) for at, lr in enumerate(given)]

    def _note_facts(self, rates: BoundRates | OwnRates, more: int, steps: int | None = None) -> None:
        """Tell the rules of the watch what the schedule is now."""
        facts = self._record.facts
        steps = steps or (None if facts.steps is None else facts.steps + more)
        bound = driver_of(self._optimizers) if isinstance(rates, BoundRates) else None
        schedule = facts.schedule if bound is None else factors_of(bound, steps)
        self._record.facts = replace(facts, steps=steps, schedule=schedule)

    def _close_open(self, late: int) -> None:
        """Complete the orders after which enough losses are known."""
        still = []
        for step, order in self._open:
            made = self._record.step - step
            if made < _LOSSES and late:
                still.append((step, order))
                continue
            loss = self._mean(step, step + _LOSSES)
            if loss is None and made < late:
                still.append((step, order))
            elif loss is not None:
                self.outbox.append(replace(order, loss_after=loss))
        self._open = still

    def _mean(self, first: int, end: int) -> float | None:
        """Return the mean training loss of some steps; negative ones count from the last."""
        recent = self._record.recent("loss", 2 * _LATE)
        values = recent.values[first:] if first < 0 else recent.values[(recent.steps >= first) & (recent.steps < end)]
        return float(values.mean()) if values.size else None


def pack(orders: Sequence[OrderRecord]) -> bytes:
    """Return orders as text, for the other processes of a run."""
    return json.dumps([{**asdict(one), "sent": one.sent.isoformat()} for one in orders]).encode() if orders else b""


def unpack(text: bytes) -> list[OrderRecord]:
    """Return the orders that :func:`pack` wrote."""
    if not text:
        return []
    from stepsize.store import OrderRecord

    return [OrderRecord(**{**one, "sent": datetime.fromisoformat(one["sent"])}) for one in json.loads(text)]


def _told(order: OrderRecord, old: Sequence[float], new: Sequence[float], steps: int | None, saved: _Saved) -> str:
    """Return in a sentence what was done."""
    given: Mapping[str, Any] = order.arguments
    now = _rates_text(new)
    if order.verb == "scale":
        group = "" if given["group"] is None else f" of group {given['group']}"
        changed = [(one, other) for one, other in zip(old, new, strict=True) if one != other] or [(old[0], new[0])]
        before, after = (_rates_text(several) for several in zip(*changed, strict=True))
        return f"The learning rate{group} is {after} instead of {before}."
    if order.verb == "hold":
        return f"The learning rate is held at {now}."
    if order.verb == "resume":
        return f"The schedule continues from the present learning rate, {now}."
    if order.verb == "cooldown":
        return f"The learning rate decreases from {now} to zero over {given['steps']:,} steps, then training stops."
    if order.verb == "extend":
        return f"The horizon is {given['steps']:,} steps longer" + ("." if steps is None else f": {steps:,} steps.")
    return f"A snapshot of step {saved.step:,} was saved ({saved.snapshot.nbytes / 1e6:,.1f} MB)."


def _rates_text(rates: Sequence[float]) -> str:
    low, high = min(rates), max(rates)
    return number_text(low, 4) if low == high else f"{number_text(low, 4)} to {number_text(high, 4)} by group"


def _sentence(verb: str, error: Exception) -> str:
    """Return why an order was refused."""
    if not isinstance(error, InputError):
        return f"The order failed: {type(error).__name__}: {error}"
    subject = verb if error.argument == "verb" else error.argument
    return f"{subject} {error.rule}." + (f" {error.remedy}." if error.remedy else "")
