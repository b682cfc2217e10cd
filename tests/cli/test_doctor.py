"""The doctor tells the truth about this machine, and changes nothing."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import stepsize
from stepsize.cli.doctor import judged, package, render, report

Report = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


def shown(doctor: Report) -> str:
    """Return what a wide terminal without colours shows."""
    console = Console(width=160, color_system=None, file=io.StringIO())
    with console.capture() as capture:
        console.print(render(doctor))
    return capture.get()


@pytest.fixture(scope="module")
def doctor() -> Report:
    return report()


def test_it_reports_what_runs_here_as_plain_values_with_the_cpu_first(doctor: Report) -> None:
    assert doctor["version"] == stepsize.__version__
    assert doctor["python"] == platform.python_version()
    assert doctor["torch"] == torch.__version__
    assert doctor["threads"] == torch.get_num_threads()
    assert 1 <= doctor["cores"] <= (os.cpu_count() or 1)
    assert doctor["devices"][0]["name"] == "cpu"
    assert "fp32" in doctor["devices"][0]["precisions"]
    assert len({device["name"] for device in doctor["devices"]}) == len(doctor["devices"])
    present = [one for one in doctor["packages"] if one["version"] is not None]
    assert all(one["version"] == metadata.version(one["name"]) for one in present)
    assert json.loads(json.dumps(doctor)) == doctor


def test_a_precision_is_listed_where_autocast_computes_in_it(doctor: Report) -> None:
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with torch.autocast("cpu", dtype):
            works = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is dtype

        assert (name in doctor["devices"][0]["precisions"]) is works


@pytest.mark.gpu
def test_every_cuda_device_is_listed_with_its_memory(doctor: Report) -> None:
    listed = [device for device in doctor["devices"] if device["name"].startswith("cuda")]

    assert len(listed) == torch.cuda.device_count() > 0
    assert all(device["memory"] == torch.cuda.mem_get_info(index)[1] for index, device in enumerate(listed))


def test_its_packages_are_those_of_the_project_file(doctor: Report) -> None:
    if not doctor["packages"]:
        pytest.skip("stepsize is on a path here, not installed")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {("", text) for text in project["dependencies"]}
    shown = project["optional-dependencies"].keys() - {"all", "bench", "docs", "peers", "test"}
    asked |= {(extra, text) for extra in shown for text in project["optional-dependencies"][extra]}

    expected = {(extra, re.split(r"[\[>=]", text)[0].strip()) for extra, text in asked}

    assert {(one["extra"], one["name"]) for one in doctor["packages"]} == expected


def test_only_packages_that_are_always_needed_stand_in_the_way(doctor: Report) -> None:
    whole = judged(doctor | {"packages": [package("numpy", "", "2.0"), package("lightning", "bench", None)]})
    broken = judged(doctor | {"packages": [package("numpy", "", None), *whole["packages"]]})

    assert whole["ready"]
    assert whole["status"].startswith("Ready to train on cpu")
    assert not broken["ready"]
    assert broken["status"] == "Missing: numpy."


def test_it_lists_the_files_of_the_data_folder_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.txt", "a.gz"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("STEPSIZE_DATA", str(tmp_path))
    found = report()
    assert (found["data_folder"], found["data_files"]) == (str(tmp_path), ["a.gz", "b.txt"])

    monkeypatch.setenv("STEPSIZE_DATA", str(tmp_path / "nowhere"))
    found = report()
    assert found["data_files"] == []
    assert "nowhere: no files" in shown(found)

    monkeypatch.delenv("STEPSIZE_DATA")
    assert report()["data_folder"] is None


def test_what_it_shows_names_every_device_and_package(doctor: Report) -> None:
    card = {"name": "cuda:0", "title": "A [fast] card", "memory": 24 * 2**30, "precisions": ["fp32", "bf16"]}
    packages = [package("numpy", "", "2.0"), package("lightning", "bench", None)]

    assert package("numpy", "", None)["install"] == "pip install numpy"
    text = shown(judged(doctor | {"devices": [*doctor["devices"], card], "packages": packages}))

    assert "A [fast] card" in text
    assert "24.0" in text
    assert 'pip install "stepsize[bench]"' in text
    assert "Ready to train on cpu, cuda:0." in text


def test_it_leaves_the_random_state_and_the_precision_settings_alone() -> None:
    before = torch.get_rng_state(), torch.get_default_dtype(), torch.is_autocast_enabled("cpu")

    report()

    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_default_dtype(), torch.is_autocast_enabled("cpu")) == before[1:]
