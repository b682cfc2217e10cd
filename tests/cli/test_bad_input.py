"""Whatever is wrong is told in a sentence, with an exit code, and without a traceback of stepsize."""

from __future__ import annotations

import shlex
from pathlib import Path

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
    "validation without a batch": (
        f"{NO_BATCH}task = make(val=Empty())",
        "val must yield at least one batch; got 'Empty'",
    ),
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


NUMBER = "must be a number; got '{}'. For example 0.01 or 3e-3"
LR = "lr must be a positive, finite learning rate"
PAIR = "must be two numbers with a colon between them; got '{}'. For example {}"
BUDGET = "budget must be a positive number of full runs, or a time such as '90s', '10min'"
UNTIL = "until must be a fraction between 0 and 1"
NO_LENGTH = "steps must be given for a schedule that has no length of its own; got None. Add --steps 10000"
TYPED = {
    "": {"fnd digits-mlp": "Did you mean 'find'?"},
    "find": {
        "": "Missing argument 'TASK'",
        "digits-mpl": "Did you mean 'digits-mlp'?",
        "mine.py --optimizer adm": "Did you mean 'adam'?",
        "mine.py --steps 0": "steps must be a whole number of steps, at least 1; got 0",
        "mine.py --seed -1": "Invalid value for '--seed'",
        "mnist-cnn": "No data folder is known: no data was given and $STEPSIZE_DATA is unset.",
        "mine.py --budget 1y": BUDGET,
        "mine.py --budget 0": BUDGET,
        "mine.py --budget nan": BUDGET,
        "mine.py --until x": "'--until': must be a fraction or a percentage; got 'x'. For example 2%",
        "mine.py --until 0": f"{UNTIL}; got 0.0",
        "mine.py --until 200%": f"{UNTIL}; got 2.0. Write 2% as 0.02",
    },
    "train": {
        "mine.py": "Missing option '--lr'",
        "mine.py --lr 1e": f"'--lr': {NUMBER.format('1e')}",
        "mine.py --lr -1": f"{LR}; got -1.0",
        "mine.py --lr 0": f"{LR}; got 0.0",
        "mine.py --lr inf": f"{LR}; got inf",
        "mine.py --lr 1 --follow --watch": "cannot be combined with watch or guard",
        "mine.py --lr 1 --follow --control": "cannot be combined with watch or guard",
        "mine.py --lr 1 --control --store none": "control needs a store, from which orders are taken",
    },
    "profile": {
        "mine.py --batches 1": "batches must be a whole number, at least 2; got 1",
        "mine.py --plot profile.doc": "plot must end in",
    },
    "range-test": {
        "mine.py --lr 1:0.1": "lr must be a pair (low, high) of rates with 0 < low < high",
        "mine.py --lr=-1:0.1": "lr must be a pair (low, high) of rates with 0 < low < high",
        "mine.py --lr 0.1": f"--lr {PAIR.format('0.1', '--lr 1e-6:1')}",
        "mine.py --steps 5": "steps must be a whole number, at least 10; got 5",
    },
    "compare": {
        "mine.py --optimizers sgd,adamm": "adamm",
        "mine.py --trials 2": "trials must be a whole number, at least 3",
        "mine.py --plot c.doc": ".doc",
        "mine.py --schedules cosin": "cosin",
    },
    "sweep": {
        "mine.py --lr 1e-4:x": "--lr must be LOW:HIGH",
        "mine.py --lr 1:0.1": "low < high",
        "mine.py --lr 1e-3:1 --sampler tpa": "tpe",
        "mine.py --seeds 1000000000": "100000",
        "mine.py --trials 1000000000": "100000",
    },
    "tasks": {"--data nowhere": "There is no data folder nowhere"},
    "translate": {
        "x --from sgd": f"'LR': {NUMBER.format('x')}",
        "0 --from sgd": LR,
        "0.1 --from sdg": "Did you mean 'sgd'",
        "0.1 --from sgd --batch-size 64": f"--batch-size {PAIR.format('64', '--batch-size 64:256')}",
        "0.1 --from sgd --batch-size 64:x": f"--batch-size {PAIR.format('64:x', '--batch-size 64:256')}",
        "0.1 --from sgd --momentum 0.9": PAIR.format("0.9", "--momentum 0.9:0.95"),
        "0.1 --from sgd --horizon 9": PAIR.format("9", "--horizon 1000:10000"),
        "0.1 --from adagrad --momentum 0.9:0.5": "momentum has no meaning to Adagrad",
    },
    "schedule": {
        "list cosin": "Did you mean 'cosine'?",
        "constant": NO_LENGTH,
        "'exp gamma=0.9'": NO_LENGTH,
        "linear": NO_LENGTH,
        "'warmup 5%, constant 95%'": NO_LENGTH,
        "'warmpu 5%, cosine' --steps 9": "Did you mean 'warmup'?",
        "lisst": "Or did you mean the command: stepsize schedule list",
        "cosine --steps 3ep": "steps needs steps_per_epoch to be turned into steps; got '3 epochs'. Give Clock(steps_",
        "'warmup 2ep, cosine' --steps 100": "on the command line --steps-per-epoch N",
        "cosine --steps '9M tok' --batch-size 8": "on the command line --sequence-length N",
        "cosine --steps 10 epochs": "Without quotes every word is part of the schedule",
        "'cosine 500' --steps 1000": "must last as long as the horizon; got '500 steps of 1,000'. Leave its",
        "'warmup 500, cosine' --steps 100": "schedule must not be longer than the horizon",
        "cosine --steps 1e9": "steps must be at most 10,000,000",
        "'cosine 9' --batch-size 0": "batch_size must be a whole number, at least 1; got 0",
        "'cosine 9' --lr 1e": f"'--lr': {NUMBER.format('1e')}",
        "'cosine 9' --lr -1": f"{LR}; got -1.0",
        "'cosine 9' --momentum 1.2": "momentum must be a finite number, at least 0, below 1; got 1.2",
        "'cosine 9' --momentum cosine": "momentum must be a finite number, at least 0, below 1; got 1.0",
        "'cosine 9' --momentum 0.9x": "--momentum takes a number or a written schedule.",
        "'cosine 9' --decay-rule folow": "Did you mean 'follows'?",
        "'cosine 9' --decay-rule corrected": "needs a weight decay that it moves; got 'corrected'. Add --weight",
        "'cosine 9' --keep-effective": "keep_effective needs a schedule of the momentum",
        "'cosine 9' --keep-effective --momentum 0.9": "keep_effective needs a schedule of the momentum",
        "'cosine 9' --weight-decay nan": "weight_decay must be a finite number, at least 0",
        "'cosine 9' --weight-decay x": f"'--weight-decay': {NUMBER.format('x')}",
        "'cosine 9' --csv out.txt": "csv must end in .csv; got 'out.txt'. Name it 'out.csv'",
        "'cosine 9' --csv nowhere/out.csv": "a folder that exists; got 'nowhere/out.csv'. Create '",
        "'cosine 9' --csv there.csv": "csv must be a file, not a folder; got 'there.csv'",
        "'cosine 9' --plot out.gif": "plot must end in .png, .svg, .html or .pdf",
        "'cosine 9' --step 9": "No such option: --step",
    },
    "schedule compare": {
        "'cosine 9'": "schedules must be 2 to 8 to be compared; got 1",
        "'cosine 9' " * 9: "schedules must be 2 to 8 to be compared; got 9",
        "'cosine 9' 'linaer 9'": "Did you mean 'linear'?",
        "'cosine 9' linear": NO_LENGTH,
        "'cosine 9' 'linear 9' --lr nan": f"{LR}; got nan",
    },
}


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [(command, given, message) for command, cases in TYPED.items() for given, message in cases.items()],
)
def test_what_was_typed_wrongly_is_named(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path, command: str, given: str, message: str
) -> None:
    write_task()
    (tmp_path / "there.csv").mkdir()

    done = invoke(*shlex.split(f"{command} {given}"))

    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "stepsize.db").exists()
