"""Each entry of the task catalog: what it promises, and that it can be trained."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from stepsize.errors import DataUnavailableError, InputError, UnknownNameError
from stepsize.optimizers import OPTIMIZERS
from stepsize.tasks import TASKS, build_task
from stepsize.training import Metric, Task
from stepsize.training.batches import Stream

_FOLDER = Path(os.environ.get("STEPSIZE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
_CLASSES = {"digits-mlp": 10, "digits-cnn": 10, "mnist-cnn": 10, "cancer-mlp": 2, "shoppers-mlp": 2}
_CLASSES |= dict.fromkeys(("docs-chars-mlp", "docs-chars-gpt", "docs-chars-gru", "shakespeare-gpt"), 96)
_LENGTHS = {"digits-mlp": (1438, 359), "mnist-cnn": (8000, 2000), "shoppers-mlp": (9864, 2466)}
_GOOD_LR = {"adamw": 1e-3, "momentum": 1e-2}


def _built(name: str, **options: object) -> Task:
    missing = [file for file in TASKS[name].files if not (_FOLDER / file).is_file()]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)} in $STEPSIZE_DATA or ../shared/data")
    return build_task(name, data=_FOLDER, device="cpu", **options)  # type: ignore[arg-type]


@pytest.fixture(params=sorted(TASKS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _tensors(task: Task, part: str) -> tuple[torch.Tensor, ...]:
    return tuple(getattr(task, part).tensors)


def _train(task: Task, lr: float, updates: int) -> tuple[float, float]:
    """Return the loss on the first 64 unseen examples before and after plain ``updates``."""
    torch.manual_seed(task.seed)
    model = task.model()
    optimizer = OPTIMIZERS[task.optimizer].make(model.parameters(), lr)  # type: ignore[index]
    judged = tuple(tensor[:64] for tensor in _tensors(task, "val"))

    def judge() -> float:
        with torch.no_grad():
            return float(task.compute_loss(model.eval(), judged))

    before, stream = judge(), Stream(task.train)
    model.train()
    for _ in range(updates):
        optimizer.zero_grad()
        task.compute_loss(model, next(stream)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return before, judge()


def test_catalog_holds_the_twelve_tasks_of_the_first_release() -> None:
    alone = {name for name, entry in TASKS.items() if not entry.files}
    assert alone == {
        *("digits-mlp", "digits-cnn", "digits-autoencoder", "cancer-mlp", "diabetes-regression", "photos-mlp"),
        *("docs-chars-mlp", "docs-chars-gpt", "docs-chars-gru"),
    }
    assert set(TASKS) - alone == {"shoppers-mlp", "mnist-cnn", "shakespeare-gpt"}


def test_entry_is_found_under_its_own_name_and_describes_itself_in_one_line(name: str) -> None:
    entry = TASKS[name]
    assert entry.name == name
    for line in (entry.title, entry.source):
        assert line.strip()
        assert "\n" not in line
    OPTIMIZERS[entry.optimizer]


def test_task_carries_what_its_entry_says(name: str) -> None:
    entry, task = TASKS[name], _built(name)
    assert (task.name, task.horizon, task.optimizer, task.seed) == (name, entry.steps, entry.optimizer, 0)
    assert len(next(iter(task.train))[0]) == entry.batch_size
    assert task.objective == "loss"
    assert all(isinstance(metric, Metric) and metric.maximize for metric in task.metrics.values())
    assert bool(task.metrics) == (name in _CLASSES)


def test_options_reach_the_task() -> None:
    task = build_task("digits-mlp", optimizer="momentum", seed=3, device="cpu", steps=40)
    assert (task.optimizer, task.seed, task.device, task.horizon) == ("momentum", 3, torch.device("cpu"), 40)
    assert task.factor is not None
    assert task.factor(2) == 1.0  # the peak follows two updates of warm-up: a twentieth of 40
    assert task.factor(39) < 0.01


def test_data_are_finite_and_unseen_data_keep_their_order(name: str) -> None:
    task = _built(name)
    for part in ("train", "val"):
        assert all(torch.isfinite(tensor).all() for tensor in _tensors(task, part))
        assert all(not tensor.requires_grad for tensor in _tensors(task, part))
    passes = [torch.cat([batch[-1] for batch in task.val]) for _ in range(2)]  # type: ignore[union-attr]
    assert torch.equal(*passes)
    assert torch.equal(passes[0], _tensors(task, "val")[-1])
    assert len(task.val) <= 5  # type: ignore[arg-type]  # evaluation stays cheap


def test_inputs_are_scaled_by_training_data(name: str) -> None:
    first = _tensors(_built(name), "train")[0]
    if not first.is_floating_point():
        pytest.skip("its first input is made of symbols")
    assert abs(float(first.mean())) < 1e-3
    assert 0.5 < float(first.std()) <= 1.01


@pytest.mark.parametrize("name", sorted(_LENGTHS))
def test_split_has_the_promised_sizes(name: str) -> None:
    task = _built(name)
    assert (len(_tensors(task, "train")[0]), len(_tensors(task, "val")[0])) == _LENGTHS[name]


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "cancer-mlp", "diabetes-regression", "mnist-cnn"])
def test_no_unseen_example_is_in_the_training_data(name: str) -> None:
    task = _built(name)
    rows = [{tuple(row) for row in _tensors(task, part)[0].flatten(1).tolist()} for part in ("train", "val")]
    assert len(rows[1]) == len(_tensors(task, "val")[0])  # else rows would say little
    assert not rows[0] & rows[1]


def test_loss_begins_near_chance(name: str) -> None:
    task = _built(name)
    torch.manual_seed(0)
    with torch.no_grad():
        loss = float(task.compute_loss(task.model(), next(iter(task.train))))
    chance = math.log(_CLASSES[name]) if name in _CLASSES else 1.0
    # a regression on standardized targets begins near variance 1; dim rim pixels share one scale, so theirs is less
    low, high = (0.4, 0.7) if name == "digits-autoencoder" else (0.7 * chance, 1.4 * chance)
    assert low < loss < high


@pytest.mark.parametrize("optimizer", sorted(_GOOD_LR))
def test_a_few_updates_at_a_sensible_rate_learn_something(name: str, optimizer: str) -> None:
    slow = 30 if (name, optimizer) == ("digits-autoencoder", "momentum") else 1  # its gradients are small
    before, after = _train(_built(name, optimizer=optimizer), slow * _GOOD_LR[optimizer], 25)
    assert after < 0.97 * before


def test_the_same_seed_gives_the_same_model_and_batches_and_another_seed_does_not(name: str) -> None:
    def start(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        task = _built(name, seed=seed)
        torch.manual_seed(task.seed)
        weights = nn.utils.parameters_to_vector(task.model().parameters())
        return weights.detach(), next(iter(task.train))[0]

    (weights, batch), (again, batch_again), (other, other_batch) = start(0), start(0), start(1)
    assert torch.equal(weights, again)
    assert torch.equal(batch, batch_again)
    assert not torch.equal(weights, other)
    assert not torch.equal(batch, other_batch)


def test_split_does_not_depend_on_the_seed_or_on_torchs_generator() -> None:
    torch.manual_seed(7)
    first = _tensors(build_task("cancer-mlp", seed=0), "val")
    torch.manual_seed(8)
    second = _tensors(build_task("cancer-mlp", seed=5), "val")
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_building_a_task_leaves_torchs_generator_alone(name: str) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    _built(name)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"docs-chars-gru"}))
def test_stacked_models_have_the_gradients_of_single_ones(name: str) -> None:
    """Populations train stacked models; eval mode keeps dropout and running means out of the comparison."""
    task = _built(name)
    torch.manual_seed(0)
    models = [task.model().eval() for _ in range(2)]
    batch = tuple(tensor[:8] for tensor in _tensors(task, "train"))
    params, buffers = stack_module_state(models)

    def loss(own: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> torch.Tensor:
        return task.loss(functional_call(models[0], (own, others), batch[:-1]), batch[-1])

    stacked = vmap(grad(loss))(params, buffers)
    for number, model in enumerate(models):
        task.compute_loss(model, batch).backward()  # type: ignore[no-untyped-call]
        for key, parameter in model.named_parameters():
            torch.testing.assert_close(stacked[key][number], parameter.grad, rtol=1e-3, atol=1e-5)


def test_task_survives_a_pickle_so_that_processes_can_share_it(name: str) -> None:
    task = _built(name)
    copy = pickle.loads(pickle.dumps(task))
    assert copy.name == name
    assert torch.equal(_tensors(copy, "val")[-1], _tensors(task, "val")[-1])


@pytest.mark.parametrize(("typo", "meant"), [("digit-mlp", "digits-mlp"), ("shakespear-gpt", "shakespeare-gpt")])
def test_unknown_task_suggests_the_nearest(typo: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=f"task is not a known name; got '{typo}'. Did you mean '{meant}'"):
        build_task(typo)


def test_unknown_optimizer_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"optimizer .* Did you mean 'adamw'"):
        build_task("digits-mlp", optimizer="adamww")


@pytest.mark.parametrize("steps", [0, -3, 2.5, True])
def test_horizon_must_be_a_positive_whole_number(steps: object) -> None:
    with pytest.raises(InputError, match="steps must be"):
        build_task("digits-mlp", steps=steps)  # type: ignore[arg-type]


def test_bad_options_are_told_before_data_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPSIZE_DATA", raising=False)
    with pytest.raises(UnknownNameError, match="optimizer"):
        build_task("mnist-cnn", optimizer="adamww")
    with pytest.raises(DataUnavailableError):
        build_task("mnist-cnn")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("shoppers-mlp", "online_shoppers_intention.csv.gz"),
        ("mnist-cnn", "t10k-images-idx3-ubyte.gz"),
        ("shakespeare-gpt", "tinyshakespeare.txt"),
    ],
)
def test_file_of_another_kind_is_named(name: str, file: str, tmp_path: Path) -> None:
    for needed in TASKS[name].files:
        (tmp_path / needed).write_bytes(b"\xff\xfenot what it should be")
    with pytest.raises(DataUnavailableError, match=file):
        build_task(name, data=tmp_path)
