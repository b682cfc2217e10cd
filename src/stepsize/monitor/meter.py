"""What is measured at each update of one optimizer, on its own device and without waiting for it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
_CPU_LAG = 8
_PROMPT = 64  # updates that are read one by one on the CPU: what is lost is lost early
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
    """

    step: int
    loss: float | None
    rates: tuple[float, ...]
    products: Array | None
    clipped: float
    gradient_before: float
    noise: float
    first: bool


@dataclass(frozen=True, eq=False)
class _Unread:
    step: int
    rates: tuple[float, ...]
    numbers: Tensor  # loss, the witness's gradient before and after clipping, products, micro-batches
    has_loss: bool
    micro: int
    measured: bool
    first: bool


class Meter:
    """Hooks on an optimizer that measure each of its updates.

    Attributes:
        updates: How many were made.
        trouble: What went wrong within a hook; nothing is measured from then on.
        prompt: Whether numbers are read at once where that costs no wait,
        alarm: or only where a loss lies above this.

    Args:
        optimizer: Any.
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
        self.trouble: Exception | None = None
        self.prompt = False
        self.alarm = math.inf
        self._scaler = scaler
        self._device = self.layout.parameters[0].device
        same = [p.device == self._device for p in self.layout.parameters]
        kept = [p for p, keep in zip(self.layout.parameters, same, strict=True) if keep]
        self._sketch = Sketch(kept, [g for g, keep in zip(self.layout.places, same, strict=True) if keep])
        self._witness = kept[0]
        self._raw: Tensor | None = None  # the witness's squared gradient after backward, before any clipping
        self._products: Tensor | None = None
        self._shortened: Tensor | None = None
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
        self._micro: list[Tensor] = []  # |g|² of the witness for each micro-batch
        self._partial: Tensor | None = None  # its gradient after the micro-batches so far
        hooks = [
            optimizer.register_step_pre_hook(self._guarded(self._before)),
            optimizer.register_step_post_hook(self._guarded(self._after)),
        ]
        if not distributed:
            hooks.append(self._witness.register_post_accumulate_grad_hook(self._guarded(self._backward)))  # type: ignore[no-untyped-call]
        self._hooks = hooks

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @property
    def active(self) -> bool:
        """Whether the next update is measured; of others only loss and rates are kept."""
        return self._active

    @active.setter
    def active(self, wanted: bool) -> None:
        self._fresh = self._fresh or wanted > self._active
        self._active = wanted

    def weights(self) -> Tensor:
        """Return a sample of the weights: see :meth:`Sketch.weights`."""
        return self._sketch.weights()

    def go_back(self) -> None:
        """Say that the weights were put back: what was measured of them before no longer belongs to what comes."""
        self._fresh = True
        self._products = self._raw = self._shortened = self._partial = None
        self._micro = []

    def tell(self, step: int, loss: Tensor | float | None) -> bool:
        """Say that the update just made was number ``step`` and had this loss, and queue its numbers.

        Returns:
            Whether there was an update since the last call: a scaler may have skipped it.
        """
        if not self._updated:
            return False
        self._updated = False
        nothing = self._nothing
        first = nothing if loss is None else torch.as_tensor(loss, dtype=torch.float32, device=self._device).detach()
        numbers = first.reshape(1)
        measured = self._products is not None
        if self._products is not None:
            raw = nothing if self._raw is None else self._raw
            after = nothing if self._shortened is None else self._shortened
            head = torch.stack([numbers[0], raw, after, *self._micro])
            numbers = torch.cat([head, self._products.reshape(-1)])
        told = _Unread(step, self._rates, numbers, loss is not None, len(self._micro), measured, self._first)
        self._unread.append(told)
        self._products = self._raw = self._shortened = self._partial = None
        self._micro = []
        return True

    def read(self, *, wait: bool = False) -> list[Measured]:
        """Return the updates whose numbers have come over; with ``wait`` all of them."""
        cpu = self._device.type == "cpu"
        lag = _LAG if not cpu else 1 if self._hurried() else _CPU_LAG
        if self._unread and (wait or len(self._unread) >= lag):
            self._send()
        measured: list[Measured] = []
        while self._coming:
            unread, numbers, event = self._coming[0]
            if event is not None and not event.query():
                if not wait:
                    break
                event.synchronize()
            self._coming.popleft()
            row = numbers.double().numpy()
            for one in unread:
                measured.append(self._measured(one, row[: one.numbers.numel()]))
                row = row[one.numbers.numel() :]
        return measured

    def _hurried(self) -> bool:
        """Return whether numbers should be read at once; asked only where that costs no wait."""
        if self.prompt or self.updates <= _PROMPT or not self._unread:
            return True
        return float(self._unread[-1].numbers[0]) > self.alarm

    def _send(self) -> None:
        unread, self._unread = self._unread, []
        stacked = torch.cat([one.numbers for one in unread])
        if self._device.type != "cuda":
            self._coming.append((unread, stacked.cpu(), None))
            return
        host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
        host.copy_(stacked, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self._coming.append((unread, host, event))

    def _measured(self, one: _Unread, row: Array) -> Measured:
        loss = float(row[0]) if one.has_loss else None
        if not one.measured:
            return Measured(one.step, loss, one.rates, None, np.nan, np.nan, np.nan, first=True)
        raw, after = row[1:3].tolist()
        clipped = math.sqrt(after / raw) if 0 < raw < math.inf and 0 <= after < math.inf else math.nan
        micro, products = row[3 : 3 + one.micro], row[3 + one.micro :].reshape(-1, _FIGURES).copy()
        before, gradient_before = (1.0, np.nan) if one.first else self._last
        now = clipped if 0 < clipped < 1 else 1.0  # as if nothing had been clipped
        with np.errstate(all="ignore"):
            products[:, :4] /= (now * now, now * before, now, before)
        self._last = (now, math.fsum(products[:, 0]) if np.isfinite(products[:, 0]).all() else math.nan)
        noise = _noise(micro, raw)
        return Measured(one.step, loss, one.rates, products, clipped, gradient_before, noise, one.first)

    def _guarded(self, hook: Callable[..., None]) -> Callable[..., None]:
        """Return a hook that never raises: it runs within the user's own backward pass or step."""

        def safe(*given: Any) -> None:
            if self.trouble is None:
                try:
                    hook(*given)
                except Exception as error:  # noqa: BLE001
                    self.trouble = error

        return safe

    def _backward(self, parameter: Tensor) -> None:
        gradient = parameter.grad
        if gradient is None or gradient.is_sparse or not self._active:
            return
        with torch.no_grad():
            gradient = self._sketch.part(gradient)
            raw = gradient.float().square().sum()
            scale = getattr(self._scaler, "_scale", None)  # get_scale() waits for the device
            whole = raw if scale is None else raw / scale.to(raw.device).square()
            if self._raw is not None or self._partial is not None:  # accumulation: the difference is one micro-batch
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

    def _before(self, *_: Any) -> None:
        if not self._active:
            return
        self._products = self._sketch.take()
        self._first, self._fresh = self._fresh, False
        gradient = self._witness.grad
        if self._raw is not None and gradient is not None:
            with torch.no_grad():
                part = self._sketch.part(gradient)
                self._shortened = part.float().square().sum()

    def _after(self, optimizer: Optimizer, *_: Any) -> None:
        self.updates += 1
        self._updated = True
        if self.updates % _CHECK == 0:
            _check_replaced(optimizer, self.layout.parameters)
        self._rates = tuple(float(group["lr"]) for group in optimizer.param_groups)


def _check_replaced(optimizer: Optimizer, known: Iterable[Tensor]) -> None:
    """Raise if the optimizer no longer holds a parameter that is measured."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not all(id(p) in held for p in known):
        raise RuntimeError("parameters of the optimizer were replaced since it is watched; watch it anew")


def _noise(micro: Array, whole: float) -> float:
    """Return tr(Sigma) / |G|² in batches, from the squared lengths of n micro-batch gradients and of their sum.

    With p = mean |g_i|² and q = |Σ g_i|² / n², |G|² = (n q - p) / (n - 1) and the variance of one micro-batch is
    s = (p - q) n / (n - 1); the batch of n has s / n.
    """
    n = len(micro)
    if n < 2:
        return math.nan
    p, q = float(micro.mean()), whole / n**2
    common, spread = (n * q - p) / (n - 1), (p - q) * n / (n - 1)
    return max(0.0, spread) / n / common if common > 0 else math.inf
