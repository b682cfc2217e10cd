"""A population trains what one plain training after the other trains."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.errors import InputError
from stepsize.schedules import cosine
from stepsize.training import Changes, InOrder, Metric, Population, Run, Setting, Task
from stepsize.training.loop import train_together
from stepsize.training.memory import free_memory
from stepsize.training.population import population as populations
from stepsize.training.population.vectorized import VectorizedRuns, check_stacking
from stepsize.training.runs import Progress

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
STEPS = 16


def data(n: int = 96, width: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2)).double()


def unbounded() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2)).double()


class Residual(nn.Module):
    """Two biases that are added have one gradient tensor in common."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 2)
        self.one, self.other = (nn.Parameter(torch.zeros(2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        body: Tensor = self.body(x)
        return body + (self.one + self.other)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "MLP": mlp,
    "BatchNorm": lambda: nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 2)).double(),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.4), nn.Linear(12, 2)).double(),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), nn.GELU(), nn.Flatten(), nn.Linear(8, 2)
    ).double(),
    "encoder layer": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 2)),
        nn.TransformerEncoderLayer(2, 1, 8, dropout=0.0, batch_first=True),
        nn.Flatten(),
        nn.Linear(6, 2),
    ).double(),
    "common gradient": lambda: Residual().double(),
}


def make(model: Callable[[], nn.Module] = mlp, **others: Any) -> Task:
    x, y = data()
    given: dict[str, Any] = {
        "model": model,
        "loss": nn.functional.cross_entropy,
        "train": (x[:64], y[:64]),
        "val": (x[64:], y[64:]),
        "optimizer": "adamw",
        "schedule": cosine(warmup="10%"),
        "metrics": {"accuracy": Metric(lambda output, y: (output.argmax(-1) == y).double().mean(), maximize=True)},
        "steps": STEPS,
        "batch_size": 16,
    }
    return Task(**(given | others))


def settings(*seeds: int, changes: Changes | None = None) -> list[Setting]:
    return [Setting(lr, seed, STEPS, changes=changes or Changes()) for seed in seeds or (0,) for lr in RATES]


def agree(one: list[Run], other: list[Run], rtol: float = 1e-9) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.setting == b.setting
        assert a.initial == b.initial
        assert a.passes == b.passes
        assert (a.divergence is None) == (b.divergence is None)
        if a.divergence is None:
            np.testing.assert_allclose(a.losses, b.losses, rtol=rtol)
            assert [seen.step for seen in a.evaluations] == [seen.step for seen in b.evaluations]
            np.testing.assert_allclose(a.val_loss, b.val_loss, rtol=rtol)
            np.testing.assert_allclose(
                [seen.metrics["accuracy"] for seen in a.evaluations],
                [seen.metrics["accuracy"] for seen in b.evaluations],
            )


@functools.cache
def alone(*seeds: int) -> list[Run]:
    """Return the runs of the plain task, trained sequentially."""
    return InOrder()(make(), settings(*seeds))


def both(task: Task, chosen: list[Setting], *, rtol: float = 1e-9, **options: Any) -> list[Run]:
    population = Population(**options)
    runs = population(task, chosen)
    assert population.reasons == []
    agree(InOrder()(task, chosen), runs, rtol)
    return runs


@pytest.mark.parametrize("name", MODELS)
def test_every_member_trains_as_it_would_alone(name: str) -> None:
    both(make(MODELS[name]), settings())


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "adagrad", "rmsprop", "nadam", "adadelta"])
def test_with_every_optimizer_that_has_a_stacked_form(optimizer: str) -> None:
    both(make(optimizer=optimizer), settings())


def test_dropout_is_the_same_for_all_members_whatever_the_layout() -> None:
    def encoder() -> nn.Module:
        layer = nn.TransformerEncoderLayer(2, 1, 8, dropout=0.5, batch_first=True)
        return nn.Sequential(nn.Unflatten(1, (3, 2)), layer, nn.Flatten(), nn.Linear(6, 2)).double()

    population = Population()
    one, other = population(make(encoder), [Setting(1e-3, 0, STEPS)] * 2)
    assert population.reasons == []
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-12)


def test_seeds_have_their_own_start_and_batches() -> None:
    runs = both(make(MODELS["dropout"]), settings(0, 3))
    assert runs[0].initial != runs[4].initial
    assert runs[0].initial == runs[1].initial


@pytest.mark.parametrize(
    "changes",
    [
        Changes(momentum=0.5),
        Changes(beta2=0.9, weight_decay=0.3),
        Changes(clip=0.1),
        Changes(schedule="linear", warmup=0.3),
        Changes(batch_size=32),
        Changes(optimizer="momentum", momentum=0.3),
    ],
    ids=str,
)
def test_what_a_setting_changes_is_the_members_own(changes: Changes) -> None:
    mixed = [*settings(), *settings(changes=changes)]
    mixed = [replace(s, steps=STEPS // 2) for s in mixed]
    both(make(), mixed[::2] + mixed[1::2])


def test_members_that_clip_and_members_that_do_not_go_together() -> None:
    runs = both(make(), [*settings(), *settings(changes=Changes(clip=0.05))])
    assert not np.allclose(runs[3].losses, runs[7].losses)


def test_gradients_are_accumulated() -> None:
    both(make(accumulate=3), settings())


def test_shorter_horizons_decay_in_full() -> None:
    both(make(), [Setting(lr, 0, steps, 10) for steps in (5, 10) for lr in RATES])


def test_batches_of_a_loader_and_a_loss_on_the_model() -> None:
    x, y = data()
    pairs = [{"x": x[i : i + 16], "y": y[i : i + 16]} for i in range(0, 64, 16)]

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"])

    both(make(train=pairs, val=None, metrics={}, loss=loss), settings())


def test_parameters_that_are_not_trained_are_shared_and_stay() -> None:
    def frozen() -> nn.Module:
        model = mlp()
        next(iter(model.parameters())).requires_grad_(False)
        return model

    both(make(frozen), settings())


def test_half_precision_comes_close() -> None:
    def single() -> nn.Module:
        return mlp().float()

    x, y = data()
    task = make(single, train=(x[:64].float(), y[:64]), val=(x[64:].float(), y[64:]), precision="bf16", metrics={})
    population = Population()
    runs = population(task, settings())
    assert population.reasons == []
    for a, b in zip(InOrder()(task, settings()), runs, strict=True):
        np.testing.assert_allclose(a.losses, b.losses, rtol=0.05)


def test_a_member_that_diverges_is_recorded_and_leaves_the_others_alone() -> None:
    sane = settings()
    wild = [Setting(1e30, 0, STEPS), Setting(1e8, 0, STEPS)]
    runs = both(make(unbounded, optimizer="sgd"), [wild[0], *sane[:2], wild[1], *sane[2:]], rtol=1e-8)
    alone = Population()(make(unbounded, optimizer="sgd"), sane)
    assert runs[0].divergence is not None
    assert len(runs[0].losses) == runs[0].divergence.step + 1
    assert all(run.divergence is None for run in runs[1:3])
    np.testing.assert_allclose(runs[1].losses, alone[0].losses, rtol=1e-9)


def test_lost_members_are_dropped_from_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = VectorizedRuns.gradients

    def counted(self: VectorizedRuns, batches: Any) -> Any:
        sizes.append(self.size)
        return plain(self, batches)

    monkeypatch.setattr(VectorizedRuns, "gradients", counted)
    Population()(make(unbounded, optimizer="sgd"), [*settings(), Setting(1e200, 0, STEPS)])
    assert sizes[1] == 5  # after the dry run on two members
    assert sizes[-1] == 4


def test_all_members_may_be_lost() -> None:
    runs = Population()(make(unbounded, optimizer="sgd"), [Setting(lr, 0, STEPS) for lr in (1e100, 1e200)])
    assert all(run.divergence is not None and not run.evaluations for run in runs)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Recurrent().double(), "gru"),
        (lambda: Deciding().double(), "data-dependent control flow"),
    ],
)
def test_what_cannot_be_stacked_is_trained_alone_and_the_reason_told(
    model: Callable[[], nn.Module], reason: str
) -> None:
    told: list[str] = []
    population = Population(on_message=told.append)
    task = make(model)
    runs = population(task, settings())
    agree(InOrder()(task, settings()), runs, rtol=0)
    assert len(told) == 1
    assert told[0].startswith("trained sequentially: ")
    assert reason in told[0]
    assert "\n" not in told[0]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        head: Tensor = self.head(self.body(x.reshape(-1, 3, 2))[0][:, -1])
        return head


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out if out.sum() > 0 else -out


def test_an_optimizer_without_a_stacked_form_is_trained_alone() -> None:
    class Own(torch.optim.SGD):
        pass

    def own(params: Iterable[Any], lr: float) -> Optimizer:
        return Own(params, lr)

    population = Population()
    agree(InOrder()(make(optimizer=own), settings()), population(make(optimizer=own), settings()), rtol=0)
    assert "has no stacked form" in population.reasons[0]


def test_a_stacked_loss_that_is_not_the_plain_one_is_refused() -> None:
    def across(model: nn.Module, batch: Any) -> Tensor:
        weight = next(iter(model.parameters()))
        stacked = torch._C._functorch.is_batchedtensor(weight)
        return nn.functional.cross_entropy(model(batch[0]), batch[1]) * (2.0 if stacked else 1.0)

    population = Population()
    population(make(loss=across, metrics={}), settings())
    assert "where a plain forward pass gives" in population.reasons[0]


def test_memory_that_runs_out_halves_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = VectorizedRuns.gradients
    tried: list[int] = []

    def hungry(self: VectorizedRuns, batches: Any) -> Any:
        tried.append(self.size)
        if self.size > 2:
            raise torch.OutOfMemoryError("not enough")
        return plain(self, batches)

    monkeypatch.setattr(VectorizedRuns, "gradients", hungry)
    agree(alone(0, 1), Population()(make(), settings(0, 1)))
    assert tried.count(4) == 1  # the size that failed is not tried again


def chunk_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that takes the number of runs of each chunk."""
    sizes: list[int] = []

    def counted(*arguments: Any) -> list[Run]:
        runs = train_together(*arguments)
        sizes.append(len(runs))
        return runs

    monkeypatch.setattr(populations, "train_together", counted)
    return sizes


def test_a_chunk_is_at_most_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = chunk_sizes(monkeypatch)
    agree(alone(), Population(chunk=3)(make(), settings()))
    assert sizes == [3]  # the fourth is trained alone


def room_for(members: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the free memory hold so many members."""
    one = check_stacking(make(), settings()[0]).memory
    share = members * one / free_memory(torch.device("cpu"))
    monkeypatch.setattr(populations, "_MEMORY_SHARE", share)


def test_many_are_trained_at_once_only_where_they_fit_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = chunk_sizes(monkeypatch)
    room_for(2.5, monkeypatch)  # what is free moves a little from look to look
    agree(alone(), Population()(make(), settings()))
    assert sizes == [2, 2]


@pytest.mark.parametrize("members", [0.0, 1.5])
def test_where_two_do_not_fit_nothing_is_stacked(members: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        pytest.fail("members were stacked")

    room_for(members, monkeypatch)
    monkeypatch.setattr(VectorizedRuns, "__init__", never)
    population = Population()
    agree(alone(), population(make(), settings()), rtol=0.0)
    assert "two at once take" in population.reasons[0]
    assert "more than a quarter of the free memory" in population.reasons[0]


def test_runs_come_back_in_order_and_stream_as_they_end() -> None:
    order = settings(1, 0)
    runs = Population()(make(), order)
    assert [run.setting for run in runs] == order
    streamed = Population(chunk=2).stream(make(), order)
    place, run = next(streamed)
    assert run.setting == order[place]
    assert sorted([place, *(place for place, _ in streamed)]) == list(range(len(order)))


def test_a_watcher_sees_every_update_of_every_member() -> None:
    seen: list[Progress] = []
    Population()(make(), settings(), on_progress=seen.append)
    assert [progress.step for progress in seen if progress.setting.lr == RATES[2]] == list(range(1, STEPS + 1))
    assert all(progress.loss is not None for progress in seen)


@pytest.mark.parametrize("model", ["BatchNorm", "dropout"])
def test_unseen_data_are_looked_at_after_each_mark_as_in_a_single_training(model: str) -> None:
    task, wanted = make(MODELS[model]), settings()

    marked, alone = Population(evals=[1, 12, STEPS])(task, wanted), InOrder([1, 12, STEPS])(task, wanted)
    plain = Population()(task, wanted)

    assert [[seen.step for seen in run.evaluations] for run in marked] == [[1, 12, STEPS]] * len(wanted)
    for one, other, unmarked in zip(marked, alone, plain, strict=True):
        assert [e.loss for e in one.evaluations] == pytest.approx([e.loss for e in other.evaluations], rel=1e-6)
        assert [e.metrics for e in one.evaluations] == [pytest.approx(e.metrics) for e in other.evaluations]
        assert one.losses.tolist() == unmarked.losses.tolist()  # looking changes nothing


@pytest.mark.parametrize("executor", [InOrder, Population])
def test_a_mark_must_be_a_number_of_updates(executor: type[InOrder] | type[Population]) -> None:
    with pytest.raises(InputError, match=r"evals must be whole numbers of steps, at least 1; got \[0, 5\]"):
        executor(evals=[5, 0])
    with pytest.raises(InputError, match="chunk must be a whole number of members, at least 1; got 0"):
        Population(chunk=0)


def test_the_same_call_gives_the_same_bits() -> None:
    once, again = (Population()(make(MODELS["BatchNorm"]), settings()) for _ in range(2))
    for a, b in zip(once, again, strict=True):
        assert np.array_equal(a.losses, b.losses)
        assert a.val_loss == b.val_loss


def test_the_time_is_shared_between_the_members() -> None:
    runs = Population()(make(), settings())
    assert all(run.seconds > 0 for run in runs)
    assert max(run.seconds for run in runs) < 5 * min(run.seconds for run in runs)
