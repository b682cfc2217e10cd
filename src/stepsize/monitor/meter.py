"""What is measured at each update of one optimizer, on its own device and without waiting for it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.monitor.layout import Layout, lay_out
from stepsize.monitor.sketch import Sketch

__all__ = ["Measured", "Meter"]

Array = NDArray[np.float64]

_LAG = 16  # updates whose numbers come over from a device together
_FIGURES = 6
_CHECK = 64  # updates between two looks at whether the optimizer still holds what is measured


@dataclass(frozen=True, eq=False)
class Measured:
    """The numbers of one update.

    Attributes:
        step: Of the watched training.
        loss: As it was told; None where it was not.
        rates: The rate that each group of the optimizer was updated with.
        products: Those of :meth:`Sketch.take`, float64, shape ``(layer groups, 6)``; None where only the loss was kept.
        clipped: By which factor the gradient was shortened between backward and update; 1 without clipping, NaN
            where it cannot be told. The products are those of the gradients before it.
        gradient_before: |g'|², of the whole gradient at the last update.
        noise: The gradient noise scale over the batch size, from micro-batches; NaN of fewer than two.
        first: Whether the update before was not measured: products with it mean nothing.
        skipped: Whether the gradient scaler made a fused optimizer leave the weights as they were.
    """

    step: int
    loss: float | None
    rates: tuple[float, ...]
    products: Array | None
    clipped: float
    gradient_before: float
    noise: float
    first: bool
    skipped: bool = False


@dataclass(eq=False, slots=True)
class _Unread:
    step: int
    rates: tuple[float, ...]
    loss: Tensor | float | None
    infinite: Tensor | None
    taken: Tensor | None  # the witness's gradient before and after clipping, micro-batches, products
    micro: int
    first: bool

    def numbers(self, device: torch.device) -> list[Tensor]:
        """Return what has to come over from the device, as flat tensors."""
        heads = [self.loss] if self.loss is not None else []
        heads += [self.infinite] if self.infinite is not None else []
        flat = [torch.as_tensor(one, dtype=torch.float32, device=device).reshape(1) for one in heads]
        return flat if self.taken is None else [*flat, self.taken]


class Meter:
    """Hooks on an optimizer that measure each of its updates, right before the weights change.

    Where the backward pass runs within ``optimizer.step(closure)``, the closure is what is measured behind.

    Attributes:
        updates: How many were made.
        trouble: What went wrong within a hook; nothing is measured from then on.
        spent: The seconds that its hooks took.

    Args:
        optimizer: Any that runs torch's step hooks.
        models: What its parameters belong to, for their names.
        scaler: The gradient scaler, where losses are scaled; its scale is taken out of the gradients.
        distributed: Whether gradients are averaged over processes after backward: what happened to them before the
            update is not clipping then.
    """

    def __init__(
        self, optimizer: Optimizer, models: Iterable[nn.Module], *, scaler: Any = None, distributed: bool = False
    ) -> None:
        self.optimizer = optimizer
        self.layout: Layout = lay_out(optimizer, models)
        self.updates = 0
        self._groups = len(optimizer.param_groups)
        self.trouble: Exception | None = None
        self.spent = 0.0
        self._scaler = scaler
        self._device = self.layout.parameters[0].device
        same = [p.device == self._device for p in self.layout.parameters]
        kept = [p for p, keep in zip(self.layout.parameters, same, strict=True) if keep]
        self._sketch = Sketch(kept, [g for g, keep in zip(self.layout.places, same, strict=True) if keep])
        self._witness = kept[0]
        told = getattr(optimizer, "tells_backward", False)  # one that has gradients of its own: see hear_backward
        self._deaf = distributed or told
        if told:
            optimizer.backward_hooks = [*getattr(optimizer, "backward_hooks", ()), self.hear_backward]  # type: ignore[attr-defined]
        self._rates: tuple[float, ...] = ()
        self._accumulates = False
        self._nothing = torch.full((), torch.nan, device=self._device)
        self._first = True
        self._last = (1.0, np.nan)  # clipping and |g|² of the last update that was read
        self._active = True
        self._fresh = True
        self._updated = False
        self._unread: list[_Unread] = []
        self._coming: deque[tuple[list[_Unread], Tensor, Any]] = deque()
        self._forget()
        self._lapsed = False  # whether the last update that was read had been skipped
        self._inside = False  # whether an update is being made
        self._taken: tuple[Tensor, int] | None = None  # the numbers of the update being made, and its micro-batches
        self._infinite: Tensor | None = None
        self._held: Tensor | None = None  # the gradient when pending() was called
        self._dropped = False
        self._hooks: list[Any] = [
            optimizer.register_step_pre_hook(self._begin),
            optimizer.register_step_post_hook(self._after),
        ]
        self._backward_hook: Any = None
        self._listen()

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._active = False
        self._listen()

    @property
    def outdated(self) -> bool:
        """Whether the optimizer has been given further groups, as when layers are unfrozen."""
        return len(self.optimizer.param_groups) != self._groups

    @property
    def prompt(self) -> bool:
        """Whether numbers can be read at once without a wait."""
        return self._device.type == "cpu"

    @property
    def device(self) -> torch.device:
        """Where it measures."""
        return self._device

    @property
    def active(self) -> bool:
        """Whether the next update is measured; of others only loss and rates are kept."""
        return self._active

    @active.setter
    def active(self, wanted: bool) -> None:
        self._fresh = self._fresh or wanted > self._active
        if wanted != self._active:
            self._active = wanted
            self._listen()

    def weights(self) -> Tensor:
        """Return a sample of the weights: see :meth:`Sketch.weights`."""
        return self._sketch.weights()

    def go_back(self) -> None:
        """Say that the weights were put back: what was measured of them before no longer belongs to what comes."""
        self._fresh = True
        self._taken = self._held = None
        self._forget()

    def abandoned(self) -> bool:
        """Return whether the gradient that was there when :meth:`pending` was called was thrown away, not added to."""
        self._compare()
        dropped, self._dropped = self._dropped, False
        return dropped

    @property
    def updated(self) -> bool:
        """Whether there was an update since the last call of :meth:`tell`: a scaler may have skipped it."""
        return self._updated

    def count(self) -> tuple[float, ...] | None:
        """Say that an update that was not measured is counted elsewhere; return its rates, or None of none."""
        if not self._updated or self._held is not None or self.trouble is not None:
            return None
        self._updated = False
        return self._rates

    def pending(self) -> None:
        """Say that no update was made so far: what comes is the rest of this one, or it was left out."""
        self._held = self._witness.grad

    def tell(self, step: int, loss: Tensor | float | None) -> None:
        """Say that the update just made was number ``step`` and had this loss, and queue its numbers."""
        self._inside = False  # also where a step ended with an error
        if not self._updated:
            return
        self._updated = False
        told = loss.detach() if isinstance(loss, Tensor) else loss
        taken, micro = (None, 0) if self._taken is None else self._taken
        self._unread.append(_Unread(step, self._rates, told, self._infinite, taken, micro, self._first))
        self._taken = self._infinite = None

    def read(self, *, wait: bool = False) -> list[Measured]:
        """Return the updates whose numbers have come over; with ``wait`` all of them."""
        if self._unread and (wait or self.prompt or len(self._unread) >= _LAG):
            self._send()
        measured: list[Measured] = []
        while self._coming:
            unread, numbers, event = self._coming[0]
            if event is not None and not event.query():
                if not wait:
                    break
                event.synchronize()
            self._coming.popleft()
            row = numbers.tolist()
            at = 0
            for one in unread:
                made, at = self._measured(one, row, at)
                measured.append(made)
        return measured

    def _send(self) -> None:
        unread, self._unread = self._unread, []
        numbers = [flat for one in unread for flat in one.numbers(self._device)]
        if not numbers:
            self._coming.append((unread, torch.empty(0), None))
            return
        stacked = numbers[0] if len(numbers) == 1 else torch.cat(numbers)
        if self._device.type != "cuda":
            self._coming.append((unread, stacked.cpu(), None))
            return
        host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
        host.copy_(stacked, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self._coming.append((unread, host, event))

    def _measured(self, one: _Unread, row: list[float], at: int) -> tuple[Measured, int]:
        """Return what the numbers say from ``at`` on, and where those of the next update begin."""
        loss = None
        if one.loss is not None:
            loss, at = row[at], at + 1
        skipped = one.infinite is not None and row[at] > 0
        at += one.infinite is not None
        if one.taken is None:
            return Measured(one.step, loss, one.rates, None, np.nan, np.nan, np.nan, True, skipped), at
        end = at + one.taken.numel()
        raw, after = row[at : at + 2]
        micro = row[at + 2 : at + 2 + one.micro]
        products = np.array(row[at + 2 + one.micro : end]).reshape(-1, _FIGURES)
        if skipped:  # the gradient is not finite, and the next one's products with it mean nothing
            self._last = (1.0, math.nan)
            self._lapsed = True
            return Measured(one.step, loss, one.rates, None, np.nan, np.nan, np.nan, True, skipped), end
        first, self._lapsed = one.first or self._lapsed, False
        clipped = math.sqrt(after / raw) if 0 < raw < math.inf and 0 <= after < math.inf else math.nan
        before, gradient_before = (1.0, np.nan) if first else self._last
        now = clipped if 0 < clipped < 1 else 1.0  # as if nothing had been clipped
        with np.errstate(all="ignore"):
            products[:, :4] /= (now * now, now * before, now, before)
        self._last = (now, math.fsum(products[:, 0]) if np.isfinite(products[:, 0]).all() else math.nan)
        noise = _noise(micro, raw)
        return Measured(one.step, loss, one.rates, products, clipped, gradient_before, noise, first), end

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
        """Listen to backward passes while updates are measured."""
        wanted = self._active and not self._deaf
        if wanted and self._backward_hook is None:
            hook = self._guarded(self._backward)
            self._backward_hook = self._witness.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
        elif not wanted and self._backward_hook is not None:
            self._backward_hook.remove()
            self._backward_hook = None
            self._forget()

    def _forget(self) -> None:
        """Forget the backward passes so far."""
        self._raw: Tensor | None = None  # the witness's squared gradient after backward, before any clipping
        self._micro: list[Tensor] = []  # |g|² of the witness for each micro-batch
        self._partial: Tensor | None = None  # its gradient after the micro-batches so far
        self._passed: tuple[Tensor, int] | None = None  # its gradient at the last backward pass, and its version

    def hear_backward(self) -> None:
        """Say that the gradients are now those of the whole backward pass, before any clipping."""
        self._guarded(self._backward)(self._witness)

    def _backward(self, parameter: Tensor) -> None:
        gradient = parameter.grad
        if gradient is None or gradient.is_sparse or self._inside:
            return
        passed, self._passed = self._passed, (gradient, gradient._version)
        added = passed is not None and passed[0] is gradient and gradient._version == passed[1] + 1
        if not added:
            self._raw, self._partial, self._micro = None, None, []
        with torch.no_grad():
            gradient = self._sketch.part(gradient)
            raw = gradient.float().square().sum()
            scale = getattr(self._scaler, "_scale", None)  # get_scale() waits for the device
            whole = raw if scale is None else raw / scale.to(raw.device).square()
            if added:  # the difference is one micro-batch
                self._note_micro(gradient, scale)
            elif self._accumulates:
                self._partial = gradient.clone()
                self._micro.append(whole)
            self._raw = whole

    def _note_micro(self, gradient: Tensor, scale: Tensor | None) -> None:
        self._accumulates = True
        if self._partial is None:  # the first accumulated update: its first micro-batch was not kept
            return
        part = (gradient - self._partial).float().square().sum()
        self._partial.copy_(gradient)
        self._micro.append(part if scale is None else part / scale.to(part.device).square())

    def _begin(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._active and self._held is None:
            return None
        return self._guarded(self._before)(optimizer, args, kwargs)

    def _before(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._inside:
            self._taken = None  # of an update that nobody told of
        place = next((n for n, one in enumerate(args) if n and callable(one)), None)
        closure = kwargs.get("closure") if place is None else args[place]
        if closure is None:
            self._take(optimizer)
            return None
        wrapped = self._behind(closure, optimizer)
        if place is None:
            return args, {**kwargs, "closure": wrapped}
        return (*args[:place], wrapped, *args[place + 1 :]), kwargs

    def _behind(self, closure: Callable[..., Any], optimizer: Optimizer) -> Callable[..., Any]:
        """Return the closure, with the measurement behind its first call: there are gradients only then."""
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
        if self._held is not None:
            self._dropped = self._witness.grad is not self._held
            self._held = None

    def _take(self, optimizer: Optimizer) -> None:
        if self._inside:  # a step that calls the one of its base class, whose hooks run too
            return
        self._compare()
        self._inside = True
        if not self._active:
            return
        scale = getattr(optimizer, "grad_scale", None)  # of a fused optimizer, which takes it out by itself
        products = self._sketch.take(scale)
        self._first, self._fresh = self._fresh, False
        gradient = self._witness.grad
        raw = shortened = self._nothing
        if self._raw is not None and gradient is not None:
            raw = self._raw
            with torch.no_grad():
                shortened = self._sketch.part(gradient).float().square().sum()
                shortened = shortened if scale is None else shortened / scale.square()
        head = torch.stack([raw, shortened, *self._micro])
        self._taken = torch.cat([head, products.reshape(-1)]), len(self._micro)

    def _after(self, optimizer: Optimizer, *_: Any) -> None:
        self.updates += 1  # counted whatever goes wrong: several processes count alike
        self._updated = True
        self._inside = False
        try:
            if self._passed is not None:
                self._raw = self._partial = self._passed = None
                self._micro = []
            self._infinite = getattr(optimizer, "found_inf", None)
            if self.updates % _CHECK == 0:
                _check_replaced(optimizer, self.layout.parameters)
            self._rates = tuple([float(group["lr"]) for group in optimizer.param_groups])
        except Exception as error:  # noqa: BLE001 - it runs within the user's own step
            self.trouble = self.trouble or error


def _check_replaced(optimizer: Optimizer, known: Iterable[Tensor]) -> None:
    """Raise if the optimizer no longer holds a parameter that is measured."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not all(id(p) in held for p in known):
        raise RuntimeError("parameters of the optimizer were replaced since it is watched; watch it anew")


def _noise(micro: Sequence[float], whole: float) -> float:
    """Return tr(Sigma) / |G|² in batches, from the squared lengths of n micro-batch gradients and of their sum.

    With p = mean |g_i|² and q = |Σ g_i|² / n², |G|² = (n q - p) / (n - 1) and the variance of one micro-batch is
    s = (p - q) n / (n - 1); the batch of n has s / n.
    """
    n = len(micro)
    if n < 2:
        return math.nan
    p, q = math.fsum(micro) / n, whole / n**2
    common, spread = (n * q - p) / (n - 1), (p - q) * n / (n - 1)
    return max(0.0, spread) / n / common if common > 0 else math.inf
