"""What a step function touches, wherever it refers to it from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.optim.swa_utils import AveragedModel

from stepsize.probe.state import StepState, find_state

Step = Callable[[Any], Any]


class Average:
    """Something with state that is neither module nor optimizer."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def nothing(batch: Any) -> None:
    pass


def optimizer_of(module: nn.Module) -> SGD:
    return SGD(module.parameters(), lr=0.1)


def holds(items: list[Any], wanted: Any) -> bool:
    return any(item is wanted for item in items)


GLOBAL_AVERAGE = Average()
GLOBAL_NET = nn.Linear(2, 1)


def test_modules_are_found_by_their_parameters_alone() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    found = find_state(nothing, [optimizer_of(net[0])])
    assert holds(found.modules, net[0])
    assert holds(found.modules, net), "the module around it, with its buffers"


def test_modules_around_modules_are_found_however_deep() -> None:
    core = nn.Linear(2, 1)
    outer = nn.ModuleDict({"a": nn.Sequential(nn.Sequential(core), nn.Dropout())})
    assert holds(find_state(nothing, [optimizer_of(core)]).modules, outer)


def test_modules_of_others_are_left_alone() -> None:
    net, foreign = nn.Linear(2, 1), nn.Linear(2, 1)
    assert not holds(find_state(nothing, [optimizer_of(net)]).modules, foreign)


def test_schedulers_of_the_optimizers_are_found_and_those_of_others_are_not() -> None:
    optimizer, foreign = optimizer_of(nn.Linear(2, 1)), optimizer_of(nn.Linear(2, 1))
    ours, theirs = StepLR(optimizer, 1), StepLR(foreign, 1)
    others = find_state(nothing, [optimizer]).others
    assert holds(others, ours)
    assert not holds(others, theirs)


def test_every_object_is_found_once() -> None:
    net = nn.Linear(2, 1)
    optimizer, average = optimizer_of(net), Average()

    def step(batch: Any) -> Any:
        return (net, optimizer, average)

    found = find_state(step, [optimizer], [average, net])
    assert [item is average for item in found.others].count(True) == 1
    assert [item is net for item in found.modules].count(True) == 1
    assert found.optimizers == [optimizer]


def found_average(make: Callable[[Average], Step]) -> bool:
    average = Average()
    step = make(average)
    return holds(find_state(step, []).others, average)


def test_objects_of_the_closure_are_found() -> None:
    def make(average: Average) -> Step:
        return lambda batch: average

    assert found_average(make)


def test_objects_in_containers_of_the_closure_are_found() -> None:
    for wrap in (lambda a: [a], lambda a: (1, a), lambda a: {"ema": a}, lambda a: {a}):
        average = Average()
        held = wrap(average)
        assert holds(find_state(lambda batch, held=held: held, []).others, average)


def test_objects_held_by_an_object_of_the_closure_are_found() -> None:
    def make(average: Average) -> Step:
        trainer = SimpleNamespace(average=average)
        return lambda batch: trainer

    assert found_average(make)


def test_objects_of_a_function_that_the_step_calls_are_found() -> None:
    def make(average: Average) -> Step:
        def inner(batch: Any) -> Average:
            return average

        return lambda batch: [inner(batch)]

    assert found_average(make)


class Trainer:
    def __init__(self, average: Average) -> None:
        self.average = average

    def step(self, batch: Any) -> None:
        pass

    def __call__(self, batch: Any) -> None:
        pass


def test_objects_of_the_owner_of_a_method_are_found() -> None:
    assert found_average(lambda average: Trainer(average).step)


def test_objects_of_the_owner_of_a_method_that_the_step_calls_are_found() -> None:
    def make(average: Average) -> Step:
        update = Trainer(average).step
        return lambda batch: [update(batch)]

    assert found_average(make)


def test_objects_of_a_callable_object_are_found() -> None:
    assert found_average(Trainer)


def test_defaults_and_arguments_of_partials_are_found() -> None:
    def make(average: Average) -> Step:
        def step(batch: Any, kept: Average = average) -> None:
            pass

        return step

    def make_keyword(average: Average) -> Step:
        def step(batch: Any, *, kept: Average = average) -> None:
            pass

        return step

    def taking(average: Average, batch: Any) -> None:
        pass

    def taking_keyword(batch: Any, average: Average) -> None:
        pass

    assert found_average(make)
    assert found_average(make_keyword)
    assert found_average(lambda average: functools.partial(taking, average))
    assert found_average(lambda average: functools.partial(taking_keyword, average=average))


def test_globals_that_the_function_names_are_found_and_no_others() -> None:
    def step(batch: Any) -> Any:
        return [GLOBAL_AVERAGE for _ in batch]  # named within a nested scope

    found = find_state(step, [])
    assert holds(found.others, GLOBAL_AVERAGE)
    assert not holds(found.modules, GLOBAL_NET)


def test_given_objects_are_kept_whatever_they_are() -> None:
    hidden = object()
    assert holds(find_state(nothing, [], [hidden]).others, hidden)


def test_modules_optimizers_and_others_are_told_apart() -> None:
    net = nn.Linear(2, 1)
    averaged, second = AveragedModel(net), optimizer_of(nn.Linear(2, 1))
    scaler = torch.amp.GradScaler("cpu")

    def step(batch: Any) -> Any:
        return (averaged, second, scaler)

    found: StepState = find_state(step, [optimizer_of(net)])
    assert holds(found.modules, averaged)
    assert holds(found.optimizers, second)
    assert holds(found.others, scaler)
    assert all(isinstance(item, nn.Module) for item in found.modules)
    assert all(isinstance(item, Optimizer) for item in found.optimizers)


def test_classes_and_packages_are_not_taken_for_objects() -> None:
    held = [torch, nn.Linear, Average]

    def step(batch: Any) -> Any:
        return (held, torch, nn.Linear, Average)

    found = find_state(step, [])
    assert (found.modules, found.optimizers, found.others) == ([], [], [])


def test_a_variable_that_is_not_bound_yet_is_passed_over() -> None:
    def step(batch: Any) -> Any:
        return later

    found = find_state(step, [])
    later = Average()
    assert not holds(found.others, later)


def test_a_built_in_function_refers_to_nothing() -> None:
    found = find_state(len, [])
    assert (found.modules, found.optimizers, found.others) == ([], [], [])
