"""Everything that a run changes: saved, restored, and verified by checksum."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves, tree_map

from stepsize.errors import InputError, RestoreError
from stepsize.training.digest import digest
from stepsize.training.position import DataPosition
from stepsize.training.rng import RngState

_TORCHS_OWN = frozenset(vars(nn.Module()))
_MOST_PARTS = 1_000  # of a container in an attribute that is state: more of them are data


class Snapshot:
    """The state of a run at one moment, which :meth:`restore` restores exactly (bitwise), in place.

    It holds the parameters and all buffers (non-persistent ones too), gradients, train/eval and requires_grad flags
    and submodules of the modules, and the tensors and plain values in their attributes (a recurrent state, a counter),
    also in lists, tuples and dicts there; groups and state of the optimizers; the ``state_dict`` of everything else
    (schedulers, gradient scalers, averaged weights, stateful loaders); the generators of samplers; and the global
    generators of python, numpy and torch. Tensors are written back into the tensors that they came from, so whatever
    holds a reference (a fused optimizer, a compiled graph, a user's variable) sees the old values.

    Args:
        modules: Models, in any number; shared parts are saved once.
        optimizers: Optimizers over their parameters.
        others: Any objects with ``state_dict`` and ``load_state_dict``.
        data: Sources of batches whose position is saved.
        offload: Whether the copies are held in host memory instead of beside the originals.

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
        offload: bool = False,
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
        self._tensors = [_SavedTensor.take(tensor, offload) for tensor in self._live_tensors()]
        self._saved_modules = [_SavedModule.take(module, offload) for module in self._modules]
        self._saved_optimizers = [_SavedOptimizer.take(optimizer, offload) for optimizer in self._optimizers]
        self._saved_others = [_held(other.state_dict(), offload) for other in self._others]
        self._digests = self.digests()

    @property
    def nbytes(self) -> int:
        """Memory of the copies, in bytes."""
        modules = [[part.held, part.grad] for part in self._tensors]
        attributes = [part.attributes for part in self._saved_modules]
        optimizers = [
            [[items for _, _, items in part.groups], [value for _, value in part.state], part.attributes]
            for part in self._saved_optimizers
        ]
        held = tree_leaves([modules, attributes, optimizers, self._saved_others])
        return sum(one.value.numel() * one.value.element_size() for one in held if isinstance(one, _Held))

    @property
    def digest(self) -> str:
        """Digest of the saved state."""
        return digest(self._digests)

    def restore(self, *, position: bool = True) -> None:
        """Restore everything, any number of times; without ``position`` the data continue where they are."""
        for module in self._saved_modules:
            module.restore()
        for tensor in self._tensors:
            tensor.restore()
        for optimizer in self._saved_optimizers:
            optimizer.restore()
        for other, state in zip(self._others, self._saved_others, strict=True):
            other.load_state_dict(_put_back(state, _Held.copied))
        if position:
            for source in self._positions:
                source.restore()
        self._rng.restore()

    def intact(self) -> bool:
        """Return whether the present state is exactly the saved one."""
        return not self.differences()

    def differences(self) -> list[str]:
        """Return the names of the parts whose present state differs from the saved one."""
        now = self.digests()
        return [name for name, value in self._digests.items() if now.get(name) != value]

    def check(self) -> None:
        """Raise RestoreError, naming the parts, unless :meth:`intact`."""
        parts = self.differences()
        if parts:
            raise RestoreError(f"the state could not be restored exactly; these parts differ: {', '.join(parts)}")

    def digests(self) -> dict[str, str]:
        """Return a digest of the present state, part by part."""
        parts: dict[str, Any] = {
            "parameters and buffers": self._live_tensors(),
            "gradients": [tensor.grad if tensor.is_leaf else None for tensor in self._live_tensors()],
            "train/eval flags": [module.training for module in self._modules],
            "requires_grad flags": [tensor.requires_grad for tensor in self._live_tensors() if tensor.is_leaf],
            "submodules": [[*map(id, module._modules.values())] for module in self._modules],
            "attributes of modules": [_attributes_of_module(module) for module in self._modules],
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
class _Held:
    """A tensor and its saved value."""

    live: Tensor
    value: Tensor

    @classmethod
    def take(cls, live: Tensor, offload: bool) -> _Held:
        value = live.detach().clone()
        return cls(live, value.cpu() if offload else value)

    def restore(self) -> Tensor:
        with torch.no_grad():
            if self.live.layout == torch.strided and 0 in self.live.stride():
                # An expanded tensor shows one place in memory many times; torch writes to it only once.
                once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in self.live.stride())
                self.live[once].copy_(self.value[once])
            else:
                self.live.copy_(self.value)
        return self.live

    def copied(self) -> Tensor:
        return self.value.to(self.live.device, copy=True)


@dataclass(frozen=True, eq=False)
class _SavedTensor:
    held: _Held
    grad: _Held | None
    trained: bool

    @classmethod
    def take(cls, live: Tensor, offload: bool) -> _SavedTensor:
        grad = live.grad if live.is_leaf else None
        return cls(_Held.take(live, offload), None if grad is None else _Held.take(grad, offload), live.requires_grad)

    def restore(self) -> None:
        live = self.held.restore()
        if live.is_leaf:
            live.requires_grad_(self.trained)
            live.grad = None if self.grad is None else self.grad.restore()


@dataclass(frozen=True, eq=False)
class _SavedModule:
    live: nn.Module
    parameters: dict[str, nn.Parameter | None]
    buffers: dict[str, Tensor | None]
    modules: dict[str, nn.Module | None]
    attributes: dict[str, Any]
    training: bool

    @classmethod
    def take(cls, live: nn.Module, offload: bool) -> _SavedModule:
        attributes = {name: _held(value, offload) for name, value in _attributes_of_module(live).items()}
        parameters, buffers = dict(live._parameters), dict(live._buffers)
        return cls(live, parameters, buffers, dict(live._modules), attributes, live.training)

    def restore(self) -> None:
        # Which tensor stands under which name: `self.mean = 0.9 * self.mean + ...` replaces a buffer.
        self.live._parameters.clear()
        self.live._parameters.update(self.parameters)
        self.live._buffers.clear()
        self.live._buffers.update(self.buffers)
        self.live._modules.clear()
        self.live._modules.update(self.modules)
        for name in _attributes_of_module(self.live).keys() - self.attributes.keys():
            del vars(self.live)[name]
        vars(self.live).update({name: _put_back(value, _Held.restore) for name, value in self.attributes.items()})
        self.live.training = self.training


@dataclass(frozen=True, eq=False)
class _SavedOptimizer:
    live: Optimizer
    groups: list[tuple[dict[str, Any], list[Tensor], dict[str, Any]]]  # the group, its parameters, all its items
    state: list[tuple[Any, Any]]
    attributes: dict[str, Any]

    @classmethod
    def take(cls, live: Optimizer, offload: bool) -> _SavedOptimizer:
        groups = []
        for group in live.param_groups:
            items = {key: None if key == "params" else _held(value, offload) for key, value in group.items()}
            groups.append((group, list(group["params"]), items))
        state = [(parameter, _held(value, offload)) for parameter, value in live.state.items()]
        return cls(live, groups, state, _held(_own_attributes(live), offload))

    def restore(self) -> None:
        self.live.param_groups[:] = [group for group, _, _ in self.groups]
        for group, params, items in self.groups:
            group.clear()
            old = _put_back(items, _Held.restore)
            group.update({key: list(params) if key == "params" else value for key, value in old.items()})
        self.live.state.clear()
        self.live.state.update({parameter: _put_back(value, _Held.restore) for parameter, value in self.state})
        for name in _own_attributes(self.live).keys() - self.attributes.keys():
            delattr(self.live, name)
        vars(self.live).update(_put_back(self.attributes, _Held.restore))


def _optimizer_state(optimizer: Optimizer) -> list[Any]:
    order = {id(p): index for index, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    groups = [
        {key: [order[id(p)] for p in value] if key == "params" else value for key, value in group.items()}
        for group in optimizer.param_groups
    ]
    state = [(order.get(id(key), str(type(key))), value) for key, value in optimizer.state.items()]
    return [groups, state, _own_attributes(optimizer)]


def _own_attributes(optimizer: Optimizer) -> dict[str, Any]:
    """Return what an optimizer has besides torch's own three: step counters, averages, flags."""
    return {
        key: value
        for key, value in vars(optimizer).items()
        if key not in ("param_groups", "state", "defaults")
        and isinstance(value, bool | int | float | str | Tensor | None)
    }


def _attributes_of_module(module: nn.Module) -> dict[str, Any]:
    """Return what a module has besides torch's own: tensors and plain values, also in containers of them."""
    return {name: value for name, value in vars(module).items() if name not in _TORCHS_OWN and _is_plain(value)}


def _is_plain(value: Any, deep: int = 3) -> bool:
    if isinstance(value, bool | int | float | complex | str | Tensor | None):
        return not isinstance(value, nn.Parameter)
    if not deep or type(value) not in (list, tuple, dict) or len(value) > _MOST_PARTS:
        return False
    return all(_is_plain(part, deep - 1) for part in (value.values() if isinstance(value, dict) else value))


def _unique_modules(modules: Iterable[nn.Module]) -> list[nn.Module]:
    return list({id(part): part for module in modules for part in module.modules()}.values())


def _held(tree: Any, offload: bool) -> Any:
    """Return a copy of ``tree`` that holds its tensors' values beside the tensors themselves."""
    return tree_map(lambda leaf: _Held.take(leaf, offload) if isinstance(leaf, Tensor) else copy.deepcopy(leaf), tree)


def _put_back(tree: Any, tensor: Callable[[_Held], Tensor]) -> Any:
    """Return what :func:`_held` took: tensors as ``tensor`` gives them, and copies of all else."""
    return tree_map(lambda leaf: tensor(leaf) if isinstance(leaf, _Held) else copy.deepcopy(leaf), tree)
