"""The state that a user's step function can change: modules, optimizers and other objects to restore."""

from __future__ import annotations

import functools
import gc
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True, eq=False)
class StepState:
    """Stateful objects that a step function and its optimizers can change."""

    modules: list[nn.Module]
    optimizers: list[Optimizer]
    others: list[Any]


def find_state(step: Callable[..., Any], optimizers: Iterable[Optimizer], given: Iterable[Any] = ()) -> StepState:
    """Return everything with state that a step over ``optimizers`` may change, and ``given``.

    That is: every live module around the optimizers' parameters, with its buffers and frozen parts; the schedulers
    attached to the optimizers; and what the function refers to (closure, globals, defaults, owner), one container or
    object deep.
    """
    swept = list(optimizers)
    found = list({id(item): item for item in [*swept, *given, *_referenced(step), *_owners(swept)]}.values())
    modules = [item for item in found if isinstance(item, nn.Module)]
    optimizers = [item for item in found if isinstance(item, Optimizer)]
    others = [item for item in found if not isinstance(item, nn.Module | Optimizer)]
    return StepState(modules, optimizers, others)


def _owners(optimizers: list[Optimizer]) -> Iterator[Any]:
    """Yield live modules around the optimizers' parameters, and the schedulers of the optimizers."""
    parameters = {id(p) for each in optimizers for group in each.param_groups for p in group["params"]}
    ours = {id(each) for each in optimizers}
    modules: list[nn.Module] = []
    for item in gc.get_objects():
        kind = type(item)  # never item.__class__: proxies may run code for it
        if issubclass(kind, nn.Module) and "_parameters" in vars(item):
            modules.append(item)
        elif issubclass(kind, LRScheduler) and any(id(each) in ours for each in _driven(item)):
            yield item
    inside = {id(m) for m in modules if any(id(p) in parameters for p in m._parameters.values())}
    while True:
        around = {id(m) for m in modules if any(id(child) in inside for child in m._modules.values())}
        if around <= inside:
            break
        inside |= around
    yield from (module for module in modules if id(module) in inside)


def _driven(scheduler: LRScheduler) -> Iterable[Any]:
    """Return the optimizers that ``scheduler`` drives: one, or those that share a step counter."""
    return getattr(scheduler, "optimizers", None) or (getattr(scheduler, "optimizer", None),)


def _referenced(step: Callable[..., Any]) -> Iterator[Any]:
    """Yield the stateful objects that ``step`` refers to, looking one container or owner deep."""
    for value in _values(step):
        if _is_stateful(value):
            yield value
        elif isinstance(value, Mapping):
            yield from filter(_is_stateful, list(value.values()))
        elif isinstance(value, list | tuple | set):
            yield from filter(_is_stateful, list(value))
        elif isinstance(value, types.FunctionType | types.MethodType | functools.partial):
            if value is not step:
                yield from filter(_is_stateful, list(_values(value)))
        elif not isinstance(value, type | types.ModuleType):  # a trainer, say, that holds model and averages
            yield from filter(_is_stateful, list(getattr(value, "__dict__", {}).values()))


def _values(step: Callable[..., Any]) -> Iterator[Any]:
    if isinstance(step, functools.partial):
        yield from [*step.args, *step.keywords.values()]
        yield from _values(step.func)
        return
    owner = getattr(step, "__self__", None if isinstance(step, types.FunctionType) else step)
    if owner is not None:
        yield owner
        yield from getattr(owner, "__dict__", {}).values()
    function = getattr(step, "__func__", step)
    if not isinstance(function, types.FunctionType):
        function = getattr(type(step), "__call__", None)  # noqa: B004 - the function itself is wanted
    if isinstance(function, types.FunctionType):
        yield from _of_function(function)


def _of_function(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a variable that is not bound yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from (function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_stateful(value: Any) -> bool:
    if isinstance(value, type | types.ModuleType):
        return False
    return isinstance(value, nn.Module | Optimizer) or (
        callable(getattr(type(value), "state_dict", None)) and callable(getattr(type(value), "load_state_dict", None))
    )
