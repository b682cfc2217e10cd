"""Everything that a training changes, saved, put back, and proven to be back."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.errors import InputError, RestoreError
from stepsize.training.digest import digest
from stepsize.training.position import DataPosition
from stepsize.training.rng import RngState

__all__ = ["Snapshot"]


class Snapshot:
    """The state of a training at one moment, which :meth:`restore` puts back bit for bit, in place.

    It holds the parameters and all buffers (non-persistent ones too), gradients and train/eval flags of the
    modules; groups and state of the optimizers; the ``state_dict`` of everything else (schedulers, gradient
    scalers, averaged weights, stateful loaders); the generators of samplers; and the global generators of python,
    numpy and torch. Tensors are put back into the very tensors that they came from, so whoever holds a
    reference (a fused optimizer, a compiled graph, a user's variable) sees the old values.

    Args:
        modules: Models, in any number; shared parts are saved once.
        optimizers: Optimizers over their parameters.
        others: Any objects with ``state_dict`` and ``load_state_dict``.
        data: Sources of batches whose position is to be kept.
        spill: Whether the copies are kept in host memory rather than beside the originals.

    Raises:
        InputError: If one of ``others`` has no ``state_dict`` and ``load_state_dict``.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> snapshot = Snapshot(modules=[net])
        >>> with torch.no_grad():
        ...     _ = net.weight.add_(1)
        >>> snapshot.intact(), snapshot.restore(), snapshot.intact()
        (False, None, True)
    """

    def __init__(
        self,
        *,
        modules: Iterable[nn.Module] = (),
        optimizers: Iterable[Optimizer] = (),
        others: Iterable[Any] = (),
        data: Iterable[Any] = (),
        spill: bool = False,
    ) -> None:
        self._others = list(others)
        for other in self._others:
            if not (hasattr(other, "state_dict") and hasattr(other, "load_state_dict")):
                raise InputError("state", type(other).__name__, "must hold objects with state_dict and load_state_dict")
        self._modules = _unique_modules(modules)
        self._optimizers = list(optimizers)
        self._sources = list(data)
        self._rng = RngState.take()
        self._positions = [DataPosition.take(source) for source in self._sources]
        self._tensors = [_SavedTensor.take(tensor, spill) for tensor in self._live_tensors()]
        self._modes = [(module, module.training) for module in self._modules]
        self._saved_optimizers = [_SavedOptimizer.take(optimizer, spill) for optimizer in self._optimizers]
        self._saved_others = [_copied(other.state_dict(), spill) for other in self._others]
        self._digests = self.digests()

    @property
    def nbytes(self) -> int:
        """The memory that the copies take, in bytes."""
        saved = [tensor for part in self._tensors for tensor in (part.value, part.grad) if tensor is not None]
        trees = [[part.groups, part.state, part.attributes] for part in self._saved_optimizers]
        saved += _tensors_in([trees, self._saved_others])
        return sum(tensor.numel() * tensor.element_size() for tensor in saved)

    @property
    def digest(self) -> str:
        """The digest of the state that was saved."""
        return digest(self._digests)

    def restore(self, *, position: bool = True) -> None:
        """Put everything back, any number of times; without ``position`` the data go on from where they are."""
        with torch.no_grad():
            for tensor in self._tensors:
                tensor.restore()
        for module, mode in self._modes:
            module.training = mode
        for saved in self._saved_optimizers:
            saved.restore()
        for other, state in zip(self._others, self._saved_others, strict=True):
            other.load_state_dict(copy.deepcopy(state))
        if position:
            for source in self._positions:
                source.restore()
        self._rng.restore()

    def intact(self) -> bool:
        """Return whether the present state is the saved one, bit for bit."""
        return not self.differences()

    def differences(self) -> list[str]:
        """Return the names of the parts whose present state differs from the saved one."""
        now = self.digests()
        return [name for name, value in self._digests.items() if now.get(name) != value]

    def check(self) -> None:
        """Raise RestoreError, naming the parts, unless :meth:`intact`."""
        parts = self.differences()
        if parts:
            raise RestoreError(f"the state could not be put back bit for bit; these parts differ: {', '.join(parts)}")

    def digests(self) -> dict[str, str]:
        """Return a digest of the present state, part by part."""
        parts: dict[str, Any] = {
            "parameters and buffers": self._live_tensors(),
            "gradients": [tensor.grad if tensor.is_leaf else None for tensor in self._live_tensors()],
            "train/eval flags": [module.training for module in self._modules],
        }
        for index, optimizer in enumerate(self._optimizers):
            parts[f"optimizer {index} ({type(optimizer).__name__})"] = _optimizer_state(optimizer)
        for index, other in enumerate(self._others):
            parts[f"state {index} ({type(other).__name__})"] = other.state_dict()
        for index, source in enumerate(self._sources):
            parts[f"position of data {index}"] = DataPosition.take(source).parts()
        parts |= RngState.take().parts()
        return {name: digest(state) for name, state in parts.items()}

    def _live_tensors(self) -> list[Tensor]:
        owned = [t for module in self._modules for t in [*module._parameters.values(), *module._buffers.values()]]
        stepped = [p for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]]
        tensors: dict[int, Tensor] = {id(tensor): tensor for tensor in [*owned, *stepped] if tensor is not None}
        return list(tensors.values())


@dataclass(frozen=True, eq=False)
class _SavedTensor:
    live: Tensor
    value: Tensor
    grad: Tensor | None
    live_grad: Tensor | None

    @classmethod
    def take(cls, live: Tensor, spill: bool) -> _SavedTensor:
        grad = live.grad if live.is_leaf else None
        return cls(live, _clone(live, spill), None if grad is None else _clone(grad, spill), grad)

    def restore(self) -> None:
        self.live.copy_(self.value)
        if self.grad is None or self.live_grad is None:
            if self.live.is_leaf:
                self.live.grad = None
            return
        self.live_grad.copy_(self.grad)
        self.live.grad = self.live_grad


@dataclass(frozen=True, eq=False)
class _SavedOptimizer:
    live: Optimizer
    groups: list[dict[str, Any]]
    params: list[list[Tensor]]
    state: list[tuple[Any, Any]]
    tensors: list[tuple[Tensor, Tensor]]  # group values that are tensors (lr), live and saved
    attributes: dict[str, Any]

    @classmethod
    def take(cls, live: Optimizer, spill: bool) -> _SavedOptimizer:
        groups = [{key: value for key, value in group.items() if key != "params"} for group in live.param_groups]
        tensors = [(value, _clone(value, spill)) for group in groups for value in group.values() if _is_tensor(value)]
        return cls(
            live,
            [{key: v if _is_tensor(v) else copy.deepcopy(v) for key, v in group.items()} for group in groups],
            [list(group["params"]) for group in live.param_groups],
            [(parameter, _copied(state, spill)) for parameter, state in live.state.items()],
            tensors,
            _copied(_own_attributes(live), spill),
        )

    def restore(self) -> None:
        del self.live.param_groups[len(self.groups) :]
        for group, saved, params in zip(self.live.param_groups, self.groups, self.params, strict=True):
            group.clear()
            group["params"] = list(params)
            group.update({key: v if _is_tensor(v) else copy.deepcopy(v) for key, v in saved.items()})
        with torch.no_grad():
            for live, value in self.tensors:
                live.copy_(value)
        before = dict(self.live.state)
        self.live.state.clear()
        for parameter, state in self.state:
            self.live.state[parameter] = _revived(before.get(parameter), state, parameter)
        self.live.__dict__.update(_copied(self.attributes, spill=False))


def _revived(live: Any, saved: Any, parameter: Any) -> Any:
    """Return ``saved`` in the live tensors where they still fit, else in new ones on their old device."""
    if isinstance(saved, Tensor):
        if isinstance(live, Tensor) and live.shape == saved.shape and live.dtype == saved.dtype:
            with torch.no_grad():
                return live.copy_(saved)
        # Spilled copies of per-element state belong beside their parameter; torch keeps step counts on the host.
        near = isinstance(parameter, Tensor) and saved.shape == parameter.shape
        return saved.to(parameter.device, copy=True) if near else saved.clone()
    if isinstance(saved, dict):
        old = live if isinstance(live, dict) else {}
        return {key: _revived(old.get(key), value, parameter) for key, value in saved.items()}
    return copy.deepcopy(saved)


def _optimizer_state(optimizer: Optimizer) -> list[Any]:
    order = {id(p): index for index, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    groups = [
        {key: [order[id(p)] for p in value] if key == "params" else value for key, value in group.items()}
        for group in optimizer.param_groups
    ]
    state = {order.get(id(parameter), -1): dict(value) for parameter, value in optimizer.state.items()}
    return [groups, state, _own_attributes(optimizer)]


def _own_attributes(optimizer: Optimizer) -> dict[str, Any]:
    """Return what an optimizer keeps beside torch's own three: step counters, averages, flags."""
    return {
        key: value
        for key, value in vars(optimizer).items()
        if key not in ("param_groups", "state", "defaults")
        and isinstance(value, bool | int | float | str | Tensor | None)
    }


def _unique_modules(modules: Iterable[nn.Module]) -> list[nn.Module]:
    return list({id(part): part for module in modules for part in module.modules()}.values())


def _clone(tensor: Tensor, spill: bool) -> Tensor:
    copied = tensor.detach().clone()
    return copied.cpu() if spill else copied


def _copied(tree: Any, spill: bool) -> Any:
    if isinstance(tree, Tensor):
        return _clone(tree, spill)
    if isinstance(tree, Mapping) and type(tree).__name__ in ("dict", "OrderedDict"):
        return {key: _copied(value, spill) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(_copied(value, spill) for value in tree)
    return copy.deepcopy(tree)


def _tensors_in(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [tensor for part in tree for tensor in _tensors_in(part)]
    return []


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)
