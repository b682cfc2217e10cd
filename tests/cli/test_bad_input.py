"""Whatever is wrong is told in a sentence, with an exit code, and without a traceback of stepsize."""

from __future__ import annotations

import pytest
from tests.cli.conftest import Invoke, WriteTask

COMMANDS = (("find",), ("range-test",), ("train", "--lr", "0.1"))

NO_BATCH = "class Empty:\n    def __iter__(self): return iter(())\n"
FOREIGN = """\
elsewhere = nn.Linear(2, 2)
def on_others(params, lr): return torch.optim.SGD(elsewhere.parameters(), lr=lr)
task = make(optimizer=on_others)
"""
BAD_TASKS = {
    "no trainable parameters": (
        "task = make(model=lambda: nn.Linear(3, 1).requires_grad_(False))",
        "model must have at least one trainable parameter",
    ),
    "loss not a scalar": (
        "task = make(loss=lambda output, target: (output - target) ** 2)",
        "loss must return a scalar tensor of shape (); got (32, 1). Reduce it, for example by .mean()",
    ),
    "loss of nothing": (
        "task = make(loss=lambda output, target: torch.tensor(1.0))",
        "loss must depend on the model's trainable parameters",
    ),
    "empty list": ("task = make(train=[])", "train must yield at least one batch; got 'a list of length 0'"),
    "empty loader": (f"{NO_BATCH}task = make(train=Empty())", "must yield at least one batch"),
    "inputs not finite": ("task = make(train=(x / 0, y), val=None)", "train must hold finite numbers"),
    "unseen inputs not finite": ("task = make(train=(x / 0, y), val=(x / 0, y))", "train must hold finite numbers"),
    "optimizer on others": (FOREIGN, "optimizer must hold parameters of the task's model, but holds only others"),
    "no steps": ("task = make(steps=0)", "steps must be a whole number of steps, at least 1; got 0"),
}
RAISING = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 1)
    def forward(self, x):
        print("a word from the net")
        try:
            return {}["key"]
        except KeyError as error:
            raise RuntimeError("the [net] is broken") from error
task = make(model=Net)
"""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("name", BAD_TASKS)
def test_a_task_that_cannot_be_trained_is_bad_input(
    invoke: Invoke, write_task: WriteTask, command: tuple[str, ...], name: str
) -> None:
    code, message = BAD_TASKS[name]

    done = invoke(command[0], write_task(code), *command[1:])

    assert done.exit_code == 2
    assert "Error: " in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_unseen_data_without_a_batch_are_bad_input(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("find", write_task(f"{NO_BATCH}task = make(val=Empty())"))

    assert done.exit_code == 2
    assert "Error: val must yield at least one batch; got 'Empty'" in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere/out.png", "plot must be in a folder that exists; got 'nowhere/out.png'"),
        ("out.jpg", "plot must end in .png, .svg, .html or .pdf; got 'out.jpg'. Name it 'out.png'"),
        (".", "plot must be a file, not a folder"),
    ],
)
def test_a_plot_path_is_checked_before_anything_is_loaded(
    invoke: Invoke, write_task: WriteTask, command: tuple[str, ...], path: str, message: str
) -> None:
    task = write_task("print('loaded')\ntask = make()")

    done = invoke(command[0], task, *command[1:], "--plot", path)

    assert done.exit_code == 2
    assert f"Error: {message}" in done.stderr
    assert "loaded" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_an_exception_of_the_task_shows_its_own_frames_only(
    invoke: Invoke, write_task: WriteTask, command: tuple[str, ...]
) -> None:
    done = invoke(command[0], write_task(RAISING), *command[1:])

    assert done.exit_code == 1
    assert "KeyError: 'key'" in done.stderr
    assert "RuntimeError: the [net] is broken" in done.stderr
    assert 'raise RuntimeError("the [net] is broken") from error' in done.stderr
    assert "Error: the task's own model, loss or data raised this." in done.stderr
    assert {line.split('"')[1].rpartition("/")[2] for line in done.stderr.splitlines() if "  File " in line} == {
        "mine.py"
    }
    assert "a word from the net" in done.stderr
    assert done.stdout == ""


def test_shapes_that_do_not_fit_are_the_tasks_own_too(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("train", write_task("task = make(model=lambda: nn.Linear(4, 1))"), "--lr", "0.1")

    assert done.exit_code == 1
    assert done.stderr.startswith("RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert "Error: the task's own model, loss or data raised this." in done.stderr


def test_a_bug_of_stepsize_is_not_blamed_on_the_task(
    invoke: Invoke, write_task: WriteTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepsize.cli import train

    def broken(horizon: int, count: int) -> list[int]:
        raise LookupError("a bug")

    broken.__code__ = broken.__code__.replace(co_filename=train.__file__)
    monkeypatch.setattr(train, "_steps", broken)

    done = invoke("train", write_task(), "--lr", "0.1")

    assert isinstance(done.exception, LookupError)
    assert "the task's own" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_ctrl_c_ends_with_one_line(invoke: Invoke, write_task: WriteTask, command: tuple[str, ...]) -> None:
    code = "def loss(output, target): raise KeyboardInterrupt\ntask = make(loss=loss)"

    done = invoke(command[0], write_task(code), *command[1:])

    assert done.exit_code == 130
    assert done.stderr.splitlines() == ["Interrupted before an answer was found."]
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("find", "digits-mpl"), "Did you mean 'digits-mlp'?"),
        (("find", "digits-mlp", "--optimizer", "adm"), "Did you mean 'adam'?"),
        (("find", "digits-mlp", "--steps", "0"), "steps must be a whole number of steps, at least 1; got 0"),
        (("find", "digits-mlp", "--seed", "-1"), "Invalid value for '--seed'"),
        (("find", "mnist-cnn"), "No data folder is known: no data was given and $STEPSIZE_DATA is unset."),
        (("find",), "Missing argument 'TASK'"),
        (("fnd", "digits-mlp"), "Did you mean 'find'?"),
        (("train", "digits-mlp", "--lr", "1e"), "'--lr': must be a number; got '1e'. For example 0.01 or 3e-3"),
        (("schedule", "cosine 9", "--lr", "1e"), "'--lr': must be a number; got '1e'. For example 0.01 or 3e-3"),
        (("schedule", "cosine 9", "--weight-decay", "x"), "'--weight-decay': must be a number; got 'x'."),
        (("find", "digits-mlp", "--budget", "1y"), "budget must be a positive number of full runs, or a time such as"),
        (
            ("find", "digits-mlp", "--until", "x"),
            "'--until': must be a fraction or a percentage; got 'x'. For example 2%",
        ),
        (("translate", "x", "--from", "sgd"), "'LR': must be a number; got 'x'. For example 0.01 or 3e-3"),
    ],
)
def test_what_was_typed_wrongly_is_named(invoke: Invoke, arguments: tuple[str, ...], message: str) -> None:
    done = invoke(*arguments)

    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""
