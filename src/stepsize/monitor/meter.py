"""What is measured at each update of one optimizer, on its own device and without device synchronization."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.monitor.layout import Layout, lay_out
from stepsize.monitor.record import Record
from stepsize.monitor.sketch import Sketch
from stepsize.monitor.trajectory import WeightTrajectory
from stepsize.training.wrapped import outside_of_graphs

_LOG = logging.getLogger("stepsize")
_UNTOLD = 50  # updates without a loss before that is logged
_LAG = 16  # updates whose numbers are copied from a device together
_FIGURES = 6
_CHECK = 64  # updates between two checks that the optimizer still holds what is measured
_LAYERS = 8  # steps between two measurements of single layers


@dataclass(frozen=True, eq=False)
class MeasuredStep:
    """The numbers of one update."""

    step: int
    loss: float | None
    rates: tuple[float, ...]  # of each group
    momenta: tuple[float, ...] = ()  # of each group; empty until one changes
    products: list[float] | None = None  # of Sketch.take, all of a layer group one after the other
    clip: tuple[float, float] = (1.0, 1.0)  # factors by which this gradient and the last one were clipped
    clipped: float = math.nan  # gradient norm after clipping over that before
    gradient_before: float = math.nan  # |g'|², of the whole gradient at the last update
    first: bool = True  # whether the update before was not measured: products with it mean nothing
    skipped: bool = False  # whether the gradient scaler made a fused optimizer leave the weights as they were

    def write(self, record: Record, layout: Layout, offset: int) -> None:
        """Add the signals to a record, except the loss; ``offset`` counts the groups of the optimizers before."""
        step = self.step
        for number, rate in enumerate(self.rates):
            record.add(f"lr/{offset + number}", step, rate)
        for number, momentum in enumerate(self.momenta):
            record.add(f"momentum/{offset + number}", step, momentum)
        if self.products is None:
            return
        gradient, across, now, then, moved, weights = self._sums(self.products)
        main = offset == 0  # several optimizers each have their own directions; the first one's are judged
        if main:
            record.add("grad_norm", step, math.sqrt(gradient) if gradient >= 0 else math.nan)
            record.add("clipped", step, self.clipped)
        if self.first:
            return
        if main:
            norms = math.sqrt(max(0.0, gradient * self.gradient_before))
            record.add("cosine", step, across / norms if norms > 0 else math.nan)
            record.add("slope_now", step, now)
            record.add("slope_then", step, then)
            record.add("update_ratio", step, math.sqrt(moved / weights) if weights > 0 else math.nan)
        if step % _LAYERS > 1:
            return
        for label, one, size in zip(layout.labels, *(self.products[n::_FIGURES] for n in (4, 5)), strict=True):
            record.add(f"update_ratio/{label}", step, math.sqrt(one / size) if size > 0 else math.nan)

    def _sums(self, products: list[float]) -> list[float]:
        """Return the products of the whole model, as if nothing had been clipped."""
        now, before = self.clip
        scales = (now * now, now * before, now, before, 1.0, 1.0)
        return [sum(products[place::_FIGURES]) / scale for place, scale in enumerate(scales)]

    @property
    def gradient(self) -> float:
        """The squared norm of the gradient, before any clipping."""
        return math.nan if self.products is None else sum(self.products[::_FIGURES]) / self.clip[0] ** 2


@dataclass(eq=False, slots=True)
class _Unread:
    step: int
    rates: tuple[float, ...]
    momenta: tuple[float, ...]
    loss: Tensor | float | None
    infinite: Tensor | None
    taken: Tensor | None  # the witness's squared gradient norm before and after clipping, then the products
    first: bool

    @property
    def numbers(self) -> list[Tensor | float]:
        """What has to be read from the device, in flat tensors."""
        heads = [one for one in (self.loss, self.infinite) if one is not None]
        flat = [one.reshape(1) if isinstance(one, Tensor) else one for one in heads]
        return flat if self.taken is None else [*flat, self.taken]


class StepMeter:
    """Hooks on an optimizer that measure each of its updates, right before the weights change.

    If the backward pass runs within ``optimizer.step(closure)``, it measures after the closure's first call. The scale
    of a ``scaler`` is taken out of the gradients. ``distributed`` says that gradients are averaged over processes after
    the backward pass: then what happens to them before the update is not clipping.
    """

    def __init__(
        self, optimizer: Optimizer, models: Iterable[nn.Module], *, scaler: Any = None, distributed: bool = False
    ) -> None:
        self.optimizer = optimizer
        self.layout: Layout = lay_out(optimizer, models)
        self.updates = 0  # made so far
        self._groups = len(optimizer.param_groups)
        self.trouble: Exception | None = None  # within a hook; nothing is measured after it
        self.silent = False  # whether it is to be logged that no loss was reported
        self.spent = 0.0  # seconds in the hooks
        self._scaler = scaler
        self.device = self.layout.parameters[0].device
        same = [p.device == self.device for p in self.layout.parameters]
        kept = [p for p, keep in zip(self.layout.parameters, same, strict=True) if keep]
        self._sketch = Sketch(kept, [g for g, keep in zip(self.layout.places, same, strict=True) if keep])
        self._witness = kept[0]
        reports = getattr(optimizer, "reports_backward", False)  # one with gradients of its own: see hear_backward
        self._deaf = distributed or reports
        if reports:
            optimizer.backward_hooks = [*getattr(optimizer, "backward_hooks", ()), self.hear_backward]  # type: ignore[attr-defined]
        self._nothing = torch.tensor(math.nan, device=self.device)
        self._raw: Tensor | None = None  # the witness's squared gradient norm after backward, before any clipping
        self.rates: tuple[float, ...] = ()  # of the last update
        self.momenta: tuple[float, ...] = ()  # of the last update; empty until one changes
        self._begin_momenta = _values_of(optimizer)[1]
        self._first = True  # whether the update before was not measured
        self._last = (1.0, math.nan)  # clipping and |g|² of the last update that was read
        self._active = True
        self._fresh = True
        self.updated = False  # whether there was an update since the last call of tell(): a scaler may have skipped it
        self._unread: list[_Unread] = []
        self._coming: deque[tuple[list[_Unread], Tensor | list[float], Any]] = deque()
        self._lapsed = False  # whether the last update that was read had been skipped
        self._inside = False  # whether an update is being made
        self._taken: Tensor | None = None  # numbers of the update being made
        self._infinite: Tensor | None = None
        self.held: Tensor | None = None  # the gradient when pending() was called: the next update also has others
        self._dropped = False
        self._compiled = False  # whether the step is: a set of hooks that changes would make it compile again
        self._before_hook: Any = None
        self._after_hook: Any = optimizer.register_step_post_hook(outside_of_graphs(self._after, self._after_compiled))
        self._measuring_hook = self._guarded(self._before)
        self._backward_hook: Any = None
        self._listen()

    def remove(self) -> None:
        """Take the hooks off."""
        self._after_hook.remove()
        self._active = self._compiled = False
        self.held = None
        self._listen()

    @property
    def outdated(self) -> bool:
        """Whether the optimizer has been given further groups, as when layers are unfrozen."""
        return len(self.optimizer.param_groups) != self._groups

    @property
    def prompt(self) -> bool:
        """Whether numbers can be read immediately without device synchronization."""
        return self.device.type == "cpu"

    @property
    def active(self) -> bool:
        """Whether the next update is measured; of others only loss and learning rates are saved."""
        return self._active

    @active.setter
    def active(self, wanted: bool) -> None:
        self._fresh = self._fresh or wanted > self._active
        if wanted != self._active:
            self._active = wanted
            self._listen()

    def trajectory(self, steps: int | None) -> WeightTrajectory:
        """Return where the sampled weights go from here, over a run of that many steps."""
        return WeightTrajectory(self._sketch.weights, self._sketch.by_tensor, steps)

    def roll_back(self) -> None:
        """Forget what was measured of weights that were restored since."""
        self._fresh = True
        self._taken = self.held = self._raw = None

    def abandoned(self) -> bool:
        """Return whether the gradient that was there when :meth:`pending` was called was discarded, not added to."""
        self._compare()
        dropped, self._dropped = self._dropped, False
        return dropped

    def pending(self) -> None:
        """Note that no update was made so far: the next batch belongs to this one, or it was skipped."""
        self.held = self._witness.grad
        self._listen()

    def tell(self, step: int, loss: Tensor | float | None) -> None:
        """Number the update just made, and queue its numbers and its loss."""
        self._inside = False  # also if a step ended with an error
        if not self.updated:
            return
        self.updated = False
        loss = loss.detach() if isinstance(loss, Tensor) else loss
        self._unread.append(_Unread(step, self.rates, self.momenta, loss, self._infinite, self._taken, self._first))
        self._taken = self._infinite = None

    def read(self, *, wait: bool = False) -> list[MeasuredStep]:
        """Return the updates whose numbers have been copied; with ``wait`` all of them."""
        if self._unread and (wait or self.prompt or len(self._unread) >= _LAG):
            self._send()
        measured: list[MeasuredStep] = []
        while self._coming:
            unread, numbers, event = self._coming[0]
            if event is not None and not event.query():
                if not wait:
                    break
                event.synchronize()
            self._coming.popleft()
            row: list[float] = numbers.tolist() if isinstance(numbers, Tensor) else numbers
            at = 0
            for one in unread:
                made, at = self._measured(one, row, at)
                measured.append(made)
        return measured

    def _send(self) -> None:
        unread, self._unread = self._unread, []
        numbers = [part for one in unread for part in one.numbers]
        if self.prompt or not numbers:
            self._coming.append((unread, [value for part in numbers for value in _values(part)], None))
            return
        flat = [torch.as_tensor(part, dtype=torch.float32, device=self.device).reshape(-1) for part in numbers]
        stacked = torch.cat(flat)
        if self.device.type != "cuda":
            self._coming.append((unread, stacked.cpu(), None))
            return
        host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
        host.copy_(stacked, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        self._coming.append((unread, host, event))

    def _measured(self, one: _Unread, row: list[float], at: int) -> tuple[MeasuredStep, int]:
        """Return what the numbers from ``at`` say, and where those of the next update begin."""
        loss = None
        if one.loss is not None:
            loss, at = row[at], at + 1
        skipped = one.infinite is not None and row[at] > 0
        at += one.infinite is not None
        if one.taken is None:
            return MeasuredStep(one.step, loss, one.rates, one.momenta, skipped=skipped), at
        end = at + one.taken.numel()
        if skipped:  # the gradient is not finite, and the next one's products with it mean nothing
            self._last = (1.0, math.nan)
            self._lapsed = True
            return MeasuredStep(one.step, loss, one.rates, one.momenta, skipped=True), end
        raw, after = row[at : at + 2]
        first, self._lapsed = one.first or self._lapsed, False
        clipped = math.sqrt(after / raw) if 0 < raw < math.inf and 0 <= after < math.inf else math.nan
        before, gradient_before = (1.0, math.nan) if first else self._last
        now = clipped if 0 < clipped < 1 else 1.0
        measures = (row[at + 2 : end], (now, before), clipped, gradient_before, first)
        made = MeasuredStep(one.step, loss, one.rates, one.momenta, *measures)
        self._last = (now, made.gradient)
        return made, end

    def _guarded(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Return a hook that never raises, and is timed: it runs within the user's own backward pass or step."""

        def safe(*given: Any) -> Any:
            if self.trouble is not None:
                return None
            began = perf_counter()
            try:
                return hook(*given)
            except Exception as error:  # noqa: BLE001
                self.trouble = error
                return None
            finally:
                self.spent += perf_counter() - began

        return safe

    def _listen(self) -> None:
        """Listen to backward passes and to updates before they are made, if they are measured."""
        if self._active or self.held is not None or self._compiled:
            if self._before_hook is None:
                self._before_hook = self.optimizer.register_step_pre_hook(outside_of_graphs(self._begin))
        elif self._before_hook is not None:
            self._before_hook.remove()
            self._before_hook = None
        wanted = self._active and not self._deaf
        if wanted and self._backward_hook is None:
            hook = self._guarded(self._backward)
            self._backward_hook = self._witness.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
        elif not wanted and self._backward_hook is not None:
            self._backward_hook.remove()
            self._backward_hook = self._raw = None

    def hear_backward(self) -> None:
        """Note that the gradients are now those of the whole backward pass, before any clipping."""
        self._guarded(self._backward)(self._witness)

    def _backward(self, parameter: Tensor) -> None:
        gradient = parameter.grad
        if gradient is None or gradient.is_sparse or self._inside:
            return
        with torch.no_grad():
            raw = self._sketch.part(gradient).float().square().sum()
            scale = getattr(self._scaler, "_scale", None)  # get_scale() synchronizes with the device
            self._raw = raw if scale is None else raw / scale.to(raw.device).square()

    def _begin(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._active or self.held is not None:
            return self._measuring_hook(optimizer, args, kwargs)
        return None

    def _before(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._inside:
            self._taken = None  # of an update that was never reported
        place = next((n for n, one in enumerate(args) if n and callable(one)), None)
        closure = kwargs.get("closure") if place is None else args[place]
        if closure is None:
            self._take(optimizer)
            return None
        wrapped = self._measuring(closure, optimizer)
        if place is None:
            return args, {**kwargs, "closure": wrapped}
        return (*args[:place], wrapped, *args[place + 1 :]), kwargs

    def _measuring(self, closure: Callable[..., Any], optimizer: Optimizer) -> Callable[..., Any]:
        """Return the closure, with the measurement after its first call: there are gradients only then."""
        take = self._guarded(self._take)
        calls = 0

        def measured(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            result = closure(*args, **kwargs)
            calls += 1
            if calls == 1:
                take(optimizer)
            return result

        return measured

    def _compare(self) -> None:
        if self.held is not None:
            self._dropped = self._witness.grad is not self.held
            self.held = None

    def _take(self, optimizer: Optimizer) -> None:
        if self._inside:  # a step that calls the one of its base class, whose hooks run too
            return
        self._compare()
        self._inside = True
        if not self._active:
            return
        scale = getattr(optimizer, "grad_scale", None)  # of a fused optimizer, which unscales by itself
        products = self._sketch.take(scale)
        self._first, self._fresh = self._fresh, False
        gradient = self._witness.grad
        raw = clipped = self._nothing
        if self._raw is not None and gradient is not None:
            raw = self._raw
            with torch.no_grad():
                clipped = self._sketch.part(gradient).float().square().sum()
                clipped = clipped if scale is None else clipped / scale.square()
        self._taken = torch.cat([raw.reshape(1), clipped.reshape(1), products.reshape(-1)])

    def _after_compiled(self, optimizer: Optimizer, *given: Any) -> None:
        self._compiled = True
        self._after(optimizer, *given)

    def _after(self, optimizer: Optimizer, *_: Any) -> None:
        self.updates += 1  # counted whatever goes wrong: several processes count alike
        self.updated = True
        self._inside = False
        self._raw = None
        try:
            if self.silent and self.updates == _UNTOLD:
                advice = "call watching.step(loss) after each optimizer.step()"
                _LOG.warning("stepsize.watch: %d updates without a loss; %s", _UNTOLD, advice)
            self._infinite = optimizer.__dict__.get("found_inf")
            if not self.updates % _CHECK:
                self._check_replaced()
            self.rates, momenta = _values_of(optimizer)
            if self.momenta or momenta != self._begin_momenta:
                self.momenta = momenta
        except Exception as error:  # noqa: BLE001 - it runs within the user's own step
            self.trouble = self.trouble or error

    def _check_replaced(self) -> None:
        """Raise if the optimizer no longer holds a parameter that is measured."""
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if not all(id(p) in held for p in self.layout.parameters):
            raise RuntimeError("parameters of the optimizer were replaced while it was watched; start a new watch")


def _values_of(optimizer: Optimizer) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return learning rate and momentum of each group; 0 of one without, or in a tensor: to read it might wait."""
    rates, momenta = [], []
    for group in optimizer.param_groups:
        rates.append(float(group["lr"]))
        momentum = group["betas"][0] if "betas" in group else group.get("momentum")
        momenta.append(momentum if isinstance(momentum, float) else 0.0)
    return tuple(rates), tuple(momenta)


def _values(numbers: Tensor | float) -> list[float]:
    return numbers.tolist() if isinstance(numbers, Tensor) else [float(numbers)]
