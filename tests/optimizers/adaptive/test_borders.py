"""What an adapted optimizer does with other people's models: parameters in turn, hooks, and what it cannot take."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from stepsize import bind
from stepsize.errors import InputError
from stepsize.optimizers.adaptive import Adaptive, AdaptiveRule, Hypergradient, LineSearch


def heads(shapes: tuple[int, int]) -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(3, shape) for shape in shapes]


def in_turn(rule: AdaptiveRule, both: list[nn.Linear], count: int = 12) -> Adaptive:
    optimizer = Adaptive(SGD([p for head in both for p in head.parameters()], lr=0.01), rule)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    for step in range(count):
        optimizer.zero_grad()
        both[step % 2](x).square().mean().backward()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("rule", [Hypergradient()])
@pytest.mark.parametrize("shapes", [(2, 2), (2, 5)])
def test_heads_that_are_used_in_turn_keep_their_own_memory(rule: AdaptiveRule, shapes: tuple[int, int]) -> None:
    both = heads(shapes)
    before = [head.weight.detach().clone() for head in both]
    optimizer = in_turn(copy.deepcopy(rule), both)

    for head, old in zip(both, before, strict=True):
        # On the way to zero no weight moves further than it was away from it: from the other head's origin it would.
        assert 0 < float((head.weight.detach() - old).norm()) < float(old.norm()), "its own, moved"
    state = copy.deepcopy(optimizer.state_dict())
    other = in_turn(copy.deepcopy(rule), heads(shapes), 2)
    other.load_state_dict(state)
    assert other.multiplier == optimizer.multiplier


def test_hooks_on_the_state_run() -> None:
    seen: list[str] = []
    weight = nn.Parameter(torch.ones(2))
    optimizer = Adaptive(SGD([weight], lr=0.1), Hypergradient())
    optimizer.register_state_dict_pre_hook(lambda one: seen.append("before saving"))
    optimizer.register_state_dict_post_hook(lambda one, state: {**state, "mine": 1})
    optimizer.register_load_state_dict_pre_hook(lambda one, state: seen.append("before loading"))
    optimizer.register_load_state_dict_post_hook(lambda one: seen.append("after loading"))

    state = optimizer.state_dict()
    assert state.pop("mine") == 1
    optimizer.load_state_dict(state)
    assert seen == ["before saving", "before loading", "after loading"]


def test_loading_an_earlier_state_under_a_schedule_goes_on_from_there() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = Adaptive(SGD([weight], lr=0.1), Hypergradient())
    bound = bind("linear", optimizer, steps=10, counts="calls")
    saved = copy.deepcopy(optimizer.state_dict())
    for _ in range(5):
        optimizer.zero_grad()
        weight.square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        bound.step()
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] == bound.get_lr()[0] == 0.05


def test_global_hooks_run_once_an_update() -> None:
    seen: list[str] = []
    handles = [
        register_optimizer_step_pre_hook(lambda *_: seen.append("before")),
        register_optimizer_step_post_hook(lambda *_: seen.append("after")),
    ]
    try:
        weight = nn.Parameter(torch.ones(2))
        optimizer = Adaptive(SGD([weight], lr=0.1), Hypergradient())
        weight.square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert seen == ["before", "after"]
        SGD([weight], lr=0.1).step()
        assert seen == ["before", "after"] * 2
    finally:
        for handle in handles:
            handle.remove()


def test_what_cannot_be_adapted_is_refused_before_anything_moves() -> None:
    with pytest.raises(InputError, match="optimizer must make its update without a closure; got 'LBFGS'"):
        Adaptive(LBFGS([nn.Parameter(torch.ones(2))]), Hypergradient())
    with pytest.raises(InputError, match="cannot be adapted; got 'complex parameters'"):
        Adaptive(SGD([nn.Parameter(torch.ones(2, dtype=torch.complex64))], lr=0.1), Hypergradient())

    table = nn.Embedding(4, 2, sparse=True)
    before = table.weight.detach().clone()
    optimizer = Adaptive(SGD(table.parameters(), lr=0.1), Hypergradient())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="cannot be adapted; got 'a sparse gradient'"):
        optimizer.step()
    assert torch.equal(table.weight, before)


def test_a_line_search_looks_through_the_closure() -> None:
    def trained(given: Any) -> Tensor:
        torch.manual_seed(0)
        net = nn.Linear(3, 1)
        x = torch.randn(16, 3)
        optimizer = Adaptive(SGD(net.parameters(), lr=0.1), LineSearch())

        def loss() -> Tensor:
            value: Tensor = (net(x) - x.sum(1, keepdim=True)).square().mean()
            return value

        def closure() -> Tensor:
            optimizer.zero_grad(set_to_none=False)
            value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        for _ in range(10):
            if given == "closure":
                optimizer.step(closure)
            else:
                optimizer.step(loss=closure().detach(), loss_fn=lambda: loss().detach())
        return net.weight.detach().clone()

    assert torch.equal(trained("closure"), trained("look"))
