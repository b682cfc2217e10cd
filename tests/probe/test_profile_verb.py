"""`stepsize.probe.profile` as a whole: what it tells, what it costs, and that it leaves no trace."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.small import ReIterable, batches, examples, make_task, network
from tests.views.chart_specs import named, texts, values
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from stepsize.curves.numerals import number_text
from stepsize.errors import InputError, TaskError
from stepsize.probe import Profile, profile
from stepsize.tasks import TASKS, build_task
from stepsize.training import Task
from stepsize.training.runs import Progress
from stepsize.views import save_chart

AT_START = "noise scale at the start"


@pytest.fixture(scope="module")
def found() -> Profile:
    return profile(make_task(steps=200, batch_size=8))


def names(profiled: Profile) -> list[str]:
    return [each.name for each in profiled.measured]


def test_everything_is_measured_with_evidence(found: Profile) -> None:
    assert names(found) == [
        AT_START, "noise scale after 16 steps",
        "critical rate at the start", "critical rate after 5 steps", "critical rate after 16 steps",
        "loss at the start", "loss of zero outputs", "loss of the best constant", "spread of the target",
        "scale spread of input", "parameters without gradient",
    ]  # fmt: skip
    assert all(each.evidence for each in found.measured)
    assert found.unavailable == ()
    assert "11 quantities measured" in found.status
    assert found["spread of the target"].value == pytest.approx(float(examples()[1].std()), rel=1e-5)


def test_the_chart_names_the_batch_size_and_each_noise_scale_and_is_one_at_the_present_size(found: Profile) -> None:
    spec = found.plot("A profile").to_dict()
    moments = {"at the start": AT_START, "after 16 steps": "noise scale after 16 steps"}
    flags = [f"noise scale {number_text(found[name].value, 2)} {when}" for when, name in moments.items()]
    assert {"batch size 8", *flags} <= set(texts(spec))
    (growth,) = named(spec, "series")
    present = [row["y"] for row in values(spec, growth) if row["x"] == pytest.approx(8)]
    assert present == pytest.approx([1.0, 1.0])
    assert growth["encoding"]["x"]["title"] == "batch size"


def test_the_critical_rate_of_a_linear_regression_is_two_over_its_curvature() -> None:
    x, y = examples(64)
    found = profile(make_task(train=(x, y), batch_size=64, model=lambda: nn.Linear(3, 1, bias=False), steps=50))
    torch.manual_seed(0)
    w = nn.Linear(3, 1, bias=False).weight.detach()
    matrix = 2 * x.T @ x / 64  # the Hessian of the mean square
    g = 2 * (x @ w.T - y).T @ x / 64
    exact = float(2 * (g @ g.T) / (g @ matrix @ g.T))
    assert found["critical rate at the start"].value == pytest.approx(exact, rel=0.15)


def test_the_noise_scale_is_that_of_per_example_gradients() -> None:
    x, y = examples(48)
    found = profile(make_task(train=(x, y), batch_size=4, steps=2000), batches=12)  # all the data, in pieces of one
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    rows = []
    for index in range(48):
        loss = mse_loss(model(x[index : index + 1]), y[index : index + 1])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    stacked = torch.stack(rows).double()
    naive = float(stacked.var(0).sum() / stacked.mean(0).square().sum())
    assert found[AT_START].value == pytest.approx(naive, rel=1e-4)


def test_it_leaves_generators_and_the_position_of_the_data_as_they_were() -> None:
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(*examples()), batch_size=8, shuffle=True, generator=generator)
    task = make_task(model=network, train=loader, val=examples(), optimizer="adamw", steps=60)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), generator.get_state())  # type: ignore[index]  # noqa: NPY002

    found = profile(task)

    assert found.restored
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.equal(generator.get_state(), before[3])


def test_the_same_seed_gives_the_same_answer_and_another_one_another() -> None:
    task = make_task(model=network, steps=100)
    told = []
    for seed in (1, 1, 2):
        torch.rand(1)  # the global generators stand elsewhere each time
        told.append([each.value for each in profile(task, seed=seed).measured])
    assert told[0] == told[1] != told[2]


def test_its_json_is_strict_and_holds_every_number(found: Profile) -> None:
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(told) == {"task", "status", "measured", "advice", "unavailable", "facts", "cost", "restored"}
    assert told["measured"][0]["value"] == found[AT_START].value
    assert told["facts"]["edges"][0]["lr"] == found["critical rate at the start"].value
    assert [one["step"] for one in told["facts"]["moments"]] == [0, 16]


def test_it_can_be_drawn(found: Profile, tmp_path: Path) -> None:
    path = save_chart(found.plot("A profile"), tmp_path / "a.svg")
    assert "A profile" in path.read_text(encoding="utf-8")


def test_the_warm_up_is_told_to_whoever_watches() -> None:
    seen: list[Progress] = []
    found = profile(make_task(steps=100), on_progress=seen.append)
    assert [each.step for each in seen] == list(range(1, 9))
    assert found.facts.moments[-1].step == 8
    assert {each.setting.lr for each in seen} == {found.facts.edges[0].lr / 8}


@pytest.mark.parametrize("name", ["digits-cnn", "cancer-mlp"])
def test_a_built_in_task_costs_less_than_a_third_of_a_training(name: str) -> None:
    found = profile(build_task(name, device="cpu"))
    assert found.cost.full_runs <= 0.3
    assert found.unavailable == ()
    assert found.restored
    assert {"rate", "warmup", "batch size"} <= {advice.about for advice in found.advice}


@pytest.mark.data
def test_a_task_with_numbers_and_categories_is_seen_column_by_column(data_folder: Path) -> None:
    if not (data_folder / TASKS["shoppers-mlp"].files[0]).is_file():
        pytest.skip("no shoppers in the data folder")
    found = profile(build_task("shoppers-mlp", data=data_folder, device="cpu"))
    assert [seen.columns for seen in found.facts.features] == [10]  # the seven categories have no scale
    majority = found["fraction of the most frequent class"].value
    assert majority == pytest.approx(0.845, abs=0.005)
    assert found["loss of the best constant"].value == pytest.approx(found["entropy of the classes"].value, rel=0.05)


def _mapping_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return mse_loss(model(batch["x"]), batch["y"])


def test_what_batches_of_another_form_do_not_tell_is_said() -> None:
    given = [{"x": x, "y": y} for x, y in batches()]
    found = profile(make_task(train=given, loss=_mapping_loss, steps=60))
    assert found[AT_START].value is not None
    assert "loss of zero outputs" not in names(found)
    assert any("the loss takes the model itself" in sentence for sentence in found.unavailable)
    assert [seen.name for seen in found.facts.features] == ["x", "y"]


def test_batches_that_cannot_be_looked_into_still_tell_of_gradients() -> None:
    given = [["a sentence", *batch] for batch in batches()]

    def loss(model: nn.Module, batch: list[Any]) -> Tensor:
        return mse_loss(model(batch[1]), batch[2])

    found = profile(make_task(train=ReIterable(*given), loss=loss, steps=60))
    assert found["critical rate at the start"].value is not None
    assert any(sentence.startswith("Features and target: the batches are not tuples") for sentence in found.unavailable)


def test_data_that_are_not_finite_are_told_instead_of_gradients() -> None:
    x, y = examples()
    x[0, 1] = torch.nan
    found = profile(make_task(train=(x, y), batch_size=48))
    assert found.advice[0].about == "data"
    assert "1 entries in 48 rows" in found.advice[0].evidence
    assert any("the data hold NaN or infinity" in sentence for sentence in found.unavailable)
    assert found.facts.moments == ()


def test_a_model_that_starts_at_infinity_is_refused() -> None:
    def broken() -> nn.Module:
        model = nn.Linear(3, 1)
        nn.init.constant_(model.weight, torch.inf)
        return model

    with pytest.raises(TaskError, match="loss must be finite"):
        profile(make_task(model=broken))


def test_parameters_without_gradient_are_named() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 1), nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    found = profile(make_task(model=Idle))
    assert found.facts.silent == ("unused.weight", "unused.bias")
    assert found.advice[0].about == "data"


def test_one_batch_of_everything_has_its_noise_scale_from_pieces_of_it() -> None:
    found = profile(make_task(batch_size=48, steps=60))
    assert found.facts.moments[0].noise is not None
    assert found.facts.moments[0].noise.pieces == 48
    assert all(advice.about != "batch size" for advice in found.advice)


def test_batch_norm_needs_whole_batches_and_with_too_few_says_so() -> None:
    many, few = profile(make_task(model=network, batch_size=8)), profile(make_task(model=network, batch_size=24))
    assert many.facts.moments[0].noise is not None
    assert many.facts.moments[0].noise.piece_size == 8
    assert few.facts.moments[0].noise is None
    assert any("fewer than four separate pieces" in sentence for sentence in few.unavailable)


def test_a_start_without_an_update_has_no_critical_rate() -> None:
    def solved() -> nn.Module:
        model = nn.Linear(3, 1)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        return model

    x, _ = examples()
    found = profile(make_task(model=solved, train=(x, torch.zeros(48, 1))))
    assert found.facts.edges == ()
    assert len(found.facts.moments) == 1
    assert any(sentence == "Critical rate: the update changed no weight." for sentence in found.unavailable)
    assert all(advice.about != "rate" for advice in found.advice)


def test_accumulated_batches_make_one_update() -> None:
    found = profile(make_task(batch_size=8, accumulate=3, steps=40))
    assert found.facts.batch_size == 24
    assert found.cost.passes == pytest.approx(found.cost.full_runs * 3 * 3 * 40)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_profiled_too(precision: Any) -> None:
    found = profile(make_task(precision=precision, optimizer="adamw", steps=60, device="cpu"))
    assert found[AT_START].value == pytest.approx(profile(make_task(steps=60))[AT_START].value, rel=0.2)


def test_an_optimizer_of_ones_own_is_profiled_and_its_rule_left_open() -> None:
    class Sign(torch.optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.data.sub_(group["lr"] * parameter.grad.sign())

    found = profile(make_task(optimizer=Sign, steps=60))
    assert found.facts.exponent is None
    assert found["critical rate at the start"].value is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"seed": -1}, "seed must be a whole number, at least 0"), ({"batches": 1}, "batches must be .*, at least 2")],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        profile(make_task(), **arguments)


def test_a_training_without_batches_is_refused() -> None:
    with pytest.raises(TaskError, match="train must yield at least one batch"):
        profile(Task(model=lambda: nn.Linear(3, 1), loss=mse_loss, train=ReIterable(), optimizer="sgd", steps=5))
