"""Everything that a run changes: saved, restored, and verified by checksum."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from stepsize.errors import InputError
from stepsize.training.digest import digest
from stepsize.training.position import DataPosition, RngState

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
        check_stateful("state", self._others)
        self._modules = _unique_modules(modules)
        self._optimizers = list(optimizers)
        self._sources = list(data)
        self._rng = RngState.take()
        self._positions = [DataPosition.take(source) for source in self._sources]
        # What stands where, before what is there: `self.mean = 0.9 * self.mean + ...` replaces a buffer.
        held = [names for part in self._modules for names in (part._parameters, part._buffers, part._modules)]
        self._named: list[tuple[dict[str, Any], dict[str, Any]]] = [(names, dict(names)) for names in held]
        self._tensors = self._live_tensors()
        self._groups = [[(group, list(group["params"])) for group in one.param_groups] for one in self._optimizers]
        self._keys = [list(optimizer.state) for optimizer in self._optimizers]
        self._offload = offload
        self._bytes = 0
        self._saved = tree_map(self._copied, self._parts())

    @property
    def nbytes(self) -> int:
        """Memory of the copies, in bytes."""
        return self._bytes

    def _copied(self, leaf: Any) -> Any:
        """Return a copy; that of a tensor is held beside the tensor itself."""
        if not isinstance(leaf, Tensor):
            return copy.deepcopy(leaf)
        value = leaf.detach().clone()
        self._bytes += value.numel() * value.element_size()
        return _Held(leaf, value.cpu() if self._offload else value)

    def restore(self, *, position: bool = True) -> None:
        """Restore everything, any number of times; without ``position`` the data continue where they are."""
        for names, then in self._named:
            names.clear()
            names.update(then)
        self._restore_modules()
        self._restore_optimizers()
        for number, other in enumerate(self._others):
            other.load_state_dict(_put_back(self._saved[_name("state", number, other)], _Held.copied))
        if position:
            for source in self._positions:
                source.restore()
        self._rng.restore()

    def _restore_modules(self) -> None:
        saved = self._saved
        for module, attributes, training in zip(
            self._modules, saved["attributes of modules"], saved["train/eval flags"], strict=True
        ):
            for name in _attributes_of_module(module).keys() - attributes.keys():
                del vars(module)[name]
            vars(module).update(_put_back(attributes))
            module.training = training
        parts = (saved[name] for name in ("parameters and buffers", "gradients", "requires_grad flags"))
        for tensor, held, gradient, trained in zip(self._tensors, *parts, strict=True):
            held.restore()
            if tensor.is_leaf:
                tensor.requires_grad_(trained)
                tensor.grad = _put_back(gradient)

    def _restore_optimizers(self) -> None:
        for number, (live, groups, keys) in enumerate(zip(self._optimizers, self._groups, self._keys, strict=True)):
            items, state, attributes = self._saved[_name("optimizer", number, live)]
            live.param_groups[:] = [group for group, _ in groups]
            for (group, parameters), own in zip(groups, items, strict=True):
                group.clear()
                group.update({**_put_back(own), "params": list(parameters)})
            live.state.clear()
            live.state.update({key: _put_back(value) for key, (_, value) in zip(keys, state, strict=True)})
            for name in _own_attributes(live).keys() - attributes.keys():
                delattr(live, name)
            vars(live).update(_put_back(attributes))

    def intact(self) -> bool:
        """Return whether the present state is exactly the saved one."""
        return not self.differences()

    def differences(self) -> list[str]:
        """Return the names of the parts whose present state differs from the saved one."""
        then = _put_back(self._saved, lambda held: held.value) | _places(self._rng, self._positions)
        now = self._parts() | _places(RngState.take(), [DataPosition.take(source) for source in self._sources])
        return [name for name, state in then.items() if digest(state) != digest(now[name])]

    def _parts(self) -> dict[str, Any]:
        """Return the present state, part by part."""
        tensors = self._live_tensors()
        parts: dict[str, Any] = {
            "parameters and buffers": tensors,
            "gradients": [tensor.grad if tensor.is_leaf else None for tensor in tensors],
            "train/eval flags": [module.training for module in self._modules],
            "requires_grad flags": [tensor.requires_grad for tensor in tensors],
            "submodules": [[*map(id, module._modules.values())] for module in self._modules],
            "attributes of modules": [_attributes_of_module(module) for module in self._modules],
        }
        for number, optimizer in enumerate(self._optimizers):
            parts[_name("optimizer", number, optimizer)] = _optimizer_state(optimizer)
        for number, other in enumerate(self._others):
            parts[_name("state", number, other)] = other.state_dict()
        return parts

    def _live_tensors(self) -> list[Tensor]:
        owned = [t for module in self._modules for t in [*module._parameters.values(), *module._buffers.values()]]
        stepped = [p for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]]
        tensors: dict[int, Tensor] = {id(tensor): tensor for tensor in [*owned, *stepped] if tensor is not None}
        return list(tensors.values())


def check_stateful(argument: str, objects: Iterable[Any]) -> None:
    """Raise an InputError if one of ``objects`` has no ``state_dict`` and ``load_state_dict``."""
    for one in objects:
        if not (hasattr(one, "state_dict") and hasattr(one, "load_state_dict")):
            raise InputError(argument, type(one).__name__, "must hold objects with state_dict and load_state_dict")


@dataclass(frozen=True, eq=False)
class _Held:
    """A tensor and its saved value."""

    live: Tensor
    value: Tensor

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


def _put_back(tree: Any, tensor: Callable[[_Held], Tensor] = _Held.restore) -> Any:
    """Return what was copied: tensors as ``tensor`` gives them, and copies of all else."""
    return tree_map(lambda leaf: tensor(leaf) if isinstance(leaf, _Held) else copy.deepcopy(leaf), tree)


def _name(what: str, number: int, one: Any) -> str:
    return f"{what} {number} ({type(one).__name__})"


def _places(randomness: RngState, positions: Iterable[DataPosition]) -> dict[str, Any]:
    """Return states of generators and positions of data by name."""
    return {f"position of data {n}": one.parts() for n, one in enumerate(positions)} | randomness.parts()


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
