"""`import stepsize` is cheap, and its lazy table is what type checkers see."""

from __future__ import annotations

import ast
import importlib
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import stepsize

HEAVY = ("PIL", "altair", "numpy", "optuna", "ray", "rich", "scipy", "sklearn", "sqlalchemy", "torch", "typer")
SECONDS = 0.25


def fresh(code: str) -> str:
    """Return what ``code`` prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def loaded_after(*statements: str) -> list[set[str]]:
    """Return the modules that a new interpreter has loaded after each of these statements, one after another."""
    told = fresh("import sys, stepsize\n" + "".join(f"{one}; print(*sys.modules)\n" for one in statements))
    return [set(line.split()) for line in told.splitlines()]


def names_for_type_checkers() -> dict[str, str]:
    """Return the home of each name that the root imports under ``if TYPE_CHECKING``."""
    assert stepsize.__file__ is not None
    tree = ast.parse(Path(stepsize.__file__).read_text(encoding="utf-8"))
    guarded = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    found: dict[str, str] = {}
    for node in (statement for guard in guarded for statement in guard.body):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: str(node.module) for alias in node.names}
    return found


def test_import_adds_at_most_a_quarter_of_a_second() -> None:
    code = "import time; start = time.process_time(); import stepsize; print(time.process_time() - start)"

    took = statistics.median(float(fresh(code)) for _ in range(5))

    assert took <= SECONDS


def test_each_room_is_loaded_on_first_use_and_loads_no_more_than_its_verb_needs() -> None:
    alone, views, store = loaded_after("stepsize.__version__", "import stepsize.views", "stepsize.Store")
    tasks, train, samplers, find = loaded_after(
        "import stepsize.tasks",
        "stepsize.train",
        "from stepsize.study.samplers import SAMPLERS; [entry.make(0, 5) for entry in SAMPLERS.values()]",
        "stepsize.find",
    )

    assert "stepsize" in alone
    assert set(HEAVY).isdisjoint(alone)
    assert {"altair", "vl_convert", "torch"}.isdisjoint(views)
    assert {"torch", "optuna", "scipy", "altair"}.isdisjoint(store)
    assert "torch" in tasks
    assert {"sklearn", "PIL", "pydoc_data.topics"}.isdisjoint(tasks)
    assert {"optuna", "scipy", "altair", "sqlalchemy"}.isdisjoint(train)
    assert {"optuna", "scipy.stats"}.isdisjoint(samplers)
    assert {"optuna", "altair", "sqlalchemy", "ray"}.isdisjoint(find)


def test_the_lazy_table_is_what_type_checkers_see() -> None:
    assert names_for_type_checkers()
    assert names_for_type_checkers() == stepsize._HOMES


def test_all_lists_the_public_names_once() -> None:
    assert list(stepsize.__all__) == list(dict.fromkeys(stepsize.__all__))
    assert set(stepsize.__all__) == {"__version__", *names_for_type_checkers()}
    assert sorted(dir(stepsize)) == sorted(stepsize.__all__)


@pytest.mark.parametrize("name", stepsize.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(stepsize, name) is not None


@pytest.mark.parametrize("name", names_for_type_checkers())
def test_a_public_name_is_that_of_its_room(name: str) -> None:
    room = importlib.import_module(names_for_type_checkers()[name])

    assert getattr(stepsize, name) is getattr(room, name)


def test_no_public_verb_is_hidden_by_a_room_of_its_name() -> None:
    assert stepsize.__file__ is not None
    rooms = {path.stem for path in Path(stepsize.__file__).parent.iterdir()}
    verbs = {name for name in names_for_type_checkers() if callable(getattr(stepsize, name))}

    assert rooms.isdisjoint(verbs)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'stepsize' has no attribute 'fnid'"):
        _ = stepsize.fnid
