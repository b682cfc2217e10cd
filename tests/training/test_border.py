"""Models, data and losses of other people: each is looked at once, and works, falls back, or is refused in words."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.training.small import batches, examples, linear, make_task, network
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import LBFGS, SGD
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import stepsize
from stepsize.errors import TaskError
from stepsize.monitor import watch_task
from stepsize.probe import range_test
from stepsize.study.following import follow
from stepsize.training import InOrder, Population, Setting, Task, counterfactual, train
from stepsize.training.batches import TensorBatches
from stepsize.training.border import inspect_task
from stepsize.training.start import look_at_start

VERBS: dict[str, Callable[[Task], Any]] = {
    "train": lambda task: train(task, 0.01),
    "in order": lambda task: InOrder()(task, [Setting(0.01, 0, 5)]),
    "population": lambda task: Population()(task, [Setting(0.01, 0, 5), Setting(0.1, 0, 5)]),
    "the start of find and sweep": lambda task: look_at_start(task, 0),
    "range test": lambda task: range_test(task, steps=20),
    "watch": lambda task: watch_task(task, 0.01),
    "counterfactual": lambda task: counterfactual(task, 0.01),
    "follow": lambda task: follow(replace(task, steps=40), 0.01),
    "profile": stepsize.profile,
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_factory_that_returns_one_model_is_refused_by_every_verb_before_anything_moves(verb: str) -> None:
    net = nn.Linear(3, 1)
    before = copy.deepcopy(net.state_dict())

    with pytest.raises(TaskError, match="model must return the same new model"):
        VERBS[verb](make_task(model=lambda: net, optimizer="adamw", val=examples()))

    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_one_trained_layer_that_all_models_share_is_found_and_a_frozen_one_is_allowed() -> None:
    shared = nn.Linear(3, 3)
    with pytest.raises(TaskError, match="a model that was returned before"):
        inspect_task(make_task(model=lambda: nn.Sequential(shared, nn.Linear(3, 1))))

    shared.requires_grad_(False)
    assert inspect_task(make_task(model=lambda: nn.Sequential(shared, nn.Linear(3, 1)))) == ()

    norm = nn.BatchNorm1d(3, affine=False).requires_grad_(False)  # its averages move with every update
    with pytest.raises(TaskError, match="other initial weights for the same seed"):
        inspect_task(make_task(model=lambda: nn.Sequential(norm, nn.Linear(3, 1))))


def test_the_look_comes_once_and_leaves_generators_data_and_answers_as_they_were() -> None:
    made: list[nn.Module] = []

    def model() -> nn.Module:
        made.append(network())
        return made[-1]

    task = make_task(model=model, val=examples(), schedule="cosine")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    inspect_task(task)

    assert torch.equal(torch.get_rng_state(), before)
    assert len(made) == 2
    inspect_task(task)
    assert len(made) == 2


class Remembers(nn.Module):
    """A recurrent model that keeps its hidden state as a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.hidden = (torch.zeros(1),)
        self.kept = {"calls": 0}

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(torch.cat([x, self.hidden[0].expand(len(x), 1)], 1))
        self.hidden = (self.hidden[0] + out.mean().detach() + 1.0,)
        self.kept["calls"] += 1
        return out


def test_hidden_state_in_attributes_is_put_back() -> None:
    assert inspect_task(make_task(model=Remembers)) == ()
    assert range_test(make_task(model=Remembers, train=batches()), steps=30).restored


def test_state_that_cannot_be_reached_is_told() -> None:
    counter = itertools.count(1)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return mse_loss(output, target) * next(counter)

    with pytest.warns(UserWarning, match="the same batch from the same weights has a loss of .* keep state outside"):
        notes = inspect_task(make_task(loss=loss))
    assert len(notes) == 1


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(x, y) for x, y in zip(*examples(), strict=True)])


def test_a_loader_over_a_stream_has_no_length_and_trains() -> None:
    loader = DataLoader(Stream(), batch_size=8)

    assert train(make_task(train=loader, val=loader), 0.05).val_loss < 5
    assert look_at_start(make_task(train=loader, val=loader), 0).costs.val_examples == 48
    assert stepsize.profile(make_task(train=loader)).facts.population in (48, None)
    with pytest.raises(TaskError, match="epochs needs training data with a length"):
        make_task(train=loader, epochs=2)


def test_endless_unseen_data_are_an_error_before_the_training() -> None:
    class Endless:
        def __iter__(self) -> Iterator[Any]:
            return itertools.cycle(batches())

    with pytest.raises(TaskError, match=r"val must end.*Give a list of batches"):
        look_at_start(make_task(val=Endless()), 0)


def ignored(batch: int) -> list[Any]:
    x = torch.randn(40, 3)
    y = (x[:, 0] > 0).long()
    parts = list(zip(torch.split(x, 8), torch.split(y, 8), strict=True))
    parts[batch][1][:] = -100
    return parts


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("executor", [InOrder(), Population()])
def test_a_batch_of_ignored_labels_alone_does_not_make_every_rate_diverge(batch: int, executor: Any) -> None:
    task = make_task(model=lambda: nn.Linear(3, 2), loss=cross_entropy, train=ignored(batch), val=ignored(batch))

    with pytest.warns(UserWarning, match=f"batch {batch} of .* has no finite loss, at initialization neither"):
        runs = executor(task, [Setting(0.5, 0, 20), Setting(0.1, 0, 20)])

    for run in runs:
        assert run.divergence is None
        assert run.train_loss < 0.6
        assert run.val_loss < 0.7


def test_a_training_that_is_lost_is_not_excused_by_ignored_labels() -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(output, target) + output.square().square().mean()

    task = make_task(model=lambda: nn.Linear(3, 2), loss=loss, train=ignored(1), steps=40)
    with pytest.warns(UserWarning, match="batch 1 of train"):
        assert train(task, 1e4).divergence is not None


class Detector(nn.Module):
    """A model that returns a dict of losses in train mode, and predictions in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        out = self.layer(x)
        return {"boxes": mse_loss(out, y), "classes": out.square().mean()} if self.training else [out]


def detection(model: nn.Module, batch: Any) -> Any:
    return model(*batch)


def test_a_dict_of_losses_is_summed() -> None:
    run = train(make_task(model=Detector, loss=detection), 0.05)

    def summed(output: Tensor, target: Tensor) -> Tensor:
        return mse_loss(output, target) + output.square().mean()

    plain = train(make_task(model=linear, loss=summed), 0.05)
    assert run.losses.tolist() == pytest.approx(plain.losses.tolist())


def test_a_model_without_a_loss_in_eval_mode_names_val_and_a_metric_judges_it() -> None:
    with pytest.raises(TaskError, match=r"val cannot be used: loss must return .* in eval mode too; got 'list'"):
        train(make_task(model=Detector, loss=detection, val=examples()), 0.05)

    error = stepsize.Metric(lambda model, batch: mse_loss(model(*batch)[0], batch[1]), maximize=False)
    task = make_task(model=Detector, loss=detection, val=examples(), metrics={"error": error}, objective="error")
    run = train(task, 0.05)
    assert run.divergence is None
    assert 0 < run.objective("error") < 10


@pytest.mark.parametrize(
    "loss",
    [
        lambda model, b: SimpleNamespace(loss=mse_loss(model(b[0]), b[1]), logits=None),
        lambda m, b: {"loss": mse_loss(m(b[0]), b[1]), "logits": m(b[0])},
        lambda m, b: mse_loss(m(b[0]), b[1]),
        lambda net_, data: mse_loss(net_(data[0]), data[1]),
        lambda output, target: SimpleNamespace(loss=mse_loss(output, target)),
        lambda output, target: mse_loss(output, target).reshape(1),
        lambda m, b: (mse_loss(m(b[0]), b[1]), None),
    ],
    ids=["an object", "a mapping", "short names", "other names", "made of the output", "one element", "a tuple"],
)
def test_losses_are_recognized_by_trying_whatever_their_arguments_are_called(loss: Any) -> None:
    plain = train(make_task(val=examples()), 0.05)
    run = train(make_task(loss=loss, val=examples()), 0.05)

    assert run.losses.tolist() == plain.losses.tolist()
    assert run.val_loss == plain.val_loss


def test_batches_of_any_form_go_to_a_loss_of_two_arguments() -> None:
    named = [{"x": x, "y": y} for x, y in batches()]

    assert train(make_task(loss=lambda m, b: mse_loss(m(b["x"]), b["y"]), train=named), 0.05).divergence is None


def weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 8)), nn.Linear(8, 1))


def test_weight_norm_is_trained_one_by_one() -> None:
    population = Population()
    task = make_task(model=weight_norm, val=examples())
    runs = population(task, [Setting(0.01, 0, 10), Setting(0.05, 0, 10)])

    assert [run.divergence for run in runs] == [None, None]
    assert range_test(task, steps=20).restored
    counterfactual(task, 0.01)


def test_lazy_layers_get_their_shapes_from_a_batch_and_the_same_weights_each_time() -> None:
    task = make_task(model=lambda: nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(1)), val=examples())
    torch.manual_seed(9)

    one, other = InOrder()(task, [Setting(0.05, 0, 20)] * 2)

    assert one.losses.tolist() == other.losses.tolist()
    assert one.initial == other.initial
    assert range_test(task, steps=20).restored


def normalized() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


@pytest.mark.parametrize("verb", VERBS)
def test_a_single_example_at_the_end_of_a_pass_joins_the_batch_before_it(verb: str) -> None:
    """fastai#1352: 33 rows in batches of 32 end with a batch of one, on which BatchNorm cannot be trained."""
    VERBS[verb](make_task(model=normalized, train=examples(33), val=examples(33), batch_size=32))
    assert [len(x) for x, _ in TensorBatches(examples(65), 32)] == [32, 33]
    assert [len(x) for x, _ in TensorBatches(examples(65), 32, shuffle=False)] == [32, 32, 1]
    assert [len(x) for x, _ in TensorBatches(examples(3), 1)] == [1, 1, 1]


def test_a_loader_that_ends_with_a_single_example_is_named_if_the_model_cannot_take_it() -> None:
    loader = DataLoader(TensorDataset(*examples(33)), batch_size=32)
    with pytest.raises(TaskError, match=r"train ends with a batch of one example, .*Expected more than 1.*drop_last"):
        inspect_task(make_task(model=normalized, train=loader))
    inspect_task(make_task(train=loader))
    inspect_task(make_task(model=normalized, train=DataLoader(TensorDataset(*examples(34)), batch_size=32)))


def test_lbfgs_gets_a_closure() -> None:
    def make(params: Iterable[Any], lr: float) -> LBFGS:
        return LBFGS(params, lr=lr, max_iter=4)

    quick = train(make_task(optimizer=make, val=examples(), clip=10.0, model=lambda: nn.Linear(3, 1)), 0.5)
    assert quick.train_loss < 0.05
    runs = Population()(make_task(optimizer=make), [Setting(0.1, 0, 5), Setting(0.5, 0, 5)])
    assert [run.divergence for run in runs] == [None, None]
    with pytest.raises(TaskError, match="precision cannot train LBFGS"):
        train(make_task(optimizer=make, precision="fp16"), 0.5)


class Phase(nn.Module):
    """A model with complex parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.complex64) @ self.weight).abs()[:, None]


def test_complex_parameters_are_trained_one_by_one() -> None:
    population = Population()
    runs = population(make_task(model=Phase), [Setting(0.01, 0, 10), Setting(0.05, 0, 10)])

    assert [run.divergence for run in runs] == [None, None]
    assert "complex" in population.reasons[0]


def test_a_loss_of_another_model_gives_no_gradient() -> None:
    other = linear()

    def make(params: Iterable[Any], lr: float) -> SGD:
        return SGD(params, lr=lr)

    task = make_task(loss=lambda model, batch: mse_loss(other(batch[0]), batch[1]), optimizer=make)
    with pytest.raises(TaskError, match="must give a parameter of the model a gradient"):
        train(task, 0.1)


def test_parameters_without_a_gradient_are_told() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(3, 1), nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    assert inspect_task(make_task(model=Unused)) == ("spare.weight, spare.bias got no gradient",)


def test_a_rate_in_a_tensor_is_filled_and_follows_the_schedule() -> None:
    rates: list[Tensor] = []

    def make(params: Iterable[Any], lr: float) -> SGD:
        rates.append(torch.tensor(lr))
        return SGD(params, lr=rates[-1])

    run = train(make_task(optimizer=make, schedule="linear"), 0.05)
    plain = train(make_task(schedule="linear"), 0.05)

    assert run.losses.tolist() == pytest.approx(plain.losses.tolist(), rel=1e-4)
    assert any(float(rate) == pytest.approx(0.05 / 20) for rate in rates)


def test_arrays_of_numpy_are_data_and_their_double_precision_is_not_meant() -> None:
    x, y = (part.double().numpy() for part in examples())
    assert train(make_task(train=(x, y), val=(x, y)), 0.05).val_loss == train(make_task(val=examples()), 0.05).val_loss


def test_a_device_that_does_not_exist_here_is_named_before_anything_runs() -> None:
    task = make_task(device="cuda:99")  # which may be sent to a worker that has it
    with pytest.raises(TaskError, match=r"device must exist: torch sees . CUDA devices; got 'cuda:99'"):
        train(task, 0.1)


class Doubles(nn.Module):
    """A model that changes its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.mul_(2.0))
        return out


def test_a_model_that_would_change_the_data_is_refused_before_it_does() -> None:
    listed = batches()
    for data in ({"train": listed}, {"val": examples()}):
        with pytest.raises(TaskError, match=r"model must leave its input as it is: each pass over (train|val)"):
            inspect_task(make_task(model=Doubles, **data))
    assert all(torch.equal(x, other) for (x, _), (other, _) in zip(listed, batches(), strict=True))
    assert train(make_task(model=Doubles), 0.01).divergence is None  # each pass cuts new batches


def test_a_factory_that_seeds_the_generators_does_not_make_all_seeds_the_same_run() -> None:
    def model() -> nn.Module:
        torch.manual_seed(42)
        return linear()

    one, other, again = InOrder()(make_task(model=model), [Setting(0.05, seed, 20) for seed in (0, 1, 0)])
    assert one.initial == other.initial
    assert one.losses.tolist() != other.losses.tolist()
    assert one.losses.tolist() == again.losses.tolist()


def test_a_metric_that_is_not_defined_on_a_batch_is_left_out_of_its_mean() -> None:
    def error(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs().mean() * (math.nan if target[0, 0] == parts[1][1][0, 0] else 1.0)

    parts = batches()
    rest = [part for place, part in enumerate(parts) if place != 1]
    metrics = {"error": stepsize.Metric(error, maximize=False)}
    with pytest.warns(UserWarning, match="the metric error is NaN on a part of val"):
        run = train(make_task(val=parts, metrics=metrics, objective="error"), 0.05)
    assert run.objective("error") == pytest.approx(
        train(make_task(val=rest, metrics=metrics, objective="error"), 0.05).objective("error")
    )
    metrics = {"error": stepsize.Metric(lambda output, target: math.nan, maximize=False)}
    assert math.isnan(train(make_task(val=parts, metrics=metrics), 0.05).evaluations[-1].metrics["error"])


def test_an_optimizer_that_does_not_take_sparse_gradients_says_so_itself() -> None:
    x, y = torch.arange(48).reshape(-1, 1) % 5, examples()[1]
    task = make_task(model=lambda: nn.EmbeddingBag(5, 1, sparse=True), train=(x, y))
    assert train(task, 0.05).divergence is None
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        train(replace(task, optimizer="adamw"), 0.05)
