"""`stepsize tasks` lists the catalog, and says which tasks can be trained here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from stepsize.cli.tasks import listed
from stepsize.tasks import TASKS


def test_every_task_of_the_catalog_is_listed_with_its_facts(invoke: Invoke) -> None:
    done = invoke("tasks", "--json")

    told = json.loads(done.stdout)["tasks"]
    assert done.exit_code == 0
    assert [task["name"] for task in told] == list(TASKS)
    for task in told:
        entry = TASKS[task["name"]]
        assert (task["title"], task["source"], task["steps"]) == (entry.title, entry.source, entry.steps)
        assert (task["batch_size"], task["optimizer"]) == (entry.batch_size, entry.optimizer)
        assert task["files"] == list(entry.files)
        assert task["ready"] is not bool(entry.files)


def test_people_read_names_titles_and_sources(invoke: Invoke) -> None:
    done = invoke("tasks")

    for entry in TASKS.values():
        assert entry.name in done.stdout
        assert entry.title in done.stdout
        assert entry.source in done.stdout
    assert "missing" in done.stdout
    assert "Tasks with missing data need a folder: --data DIR, or $STEPSIZE_DATA." in done.stderr


def test_data_are_found_where_the_folder_has_them(invoke: Invoke, tmp_path: Path) -> None:
    entry = TASKS["shoppers-mlp"]
    for name in entry.files:
        (tmp_path / name).touch()

    ready = {task["name"]: task["ready"] for task in listed(tmp_path)}

    assert ready["shoppers-mlp"]
    assert not ready["mnist-cnn"]
    assert ready["digits-mlp"]
    shown = invoke("tasks", "--data", str(tmp_path)).stdout
    assert all(f" {word} " in shown for word in ("found", "missing", "included"))


def test_the_environment_names_the_folder_too(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in TASKS.values():
        for name in entry.files:
            (tmp_path / name).touch()
    monkeypatch.setenv("STEPSIZE_DATA", str(tmp_path))

    done = invoke("tasks")

    assert "missing" not in done.stdout
    assert done.stderr == ""
