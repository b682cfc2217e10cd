"""The doctor tells the truth about this machine, and changes nothing."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import tomllib
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch
from rich.console import Console

import stepsize
from stepsize.cli.doctor import Device, Doctor, Package, render, report

ROOT = Path(__file__).resolve().parents[2]


def shown(doctor: Doctor) -> str:
    """Return what a wide terminal without colours shows."""
    console = Console(width=160, color_system=None, file=io.StringIO())
    with console.capture() as capture:
        console.print(render(doctor))
    return capture.get()


@pytest.fixture(scope="module")
def doctor() -> Doctor:
    return report()


def test_it_reports_the_versions_that_run(doctor: Doctor) -> None:
    assert doctor.version == stepsize.__version__
    assert doctor.python == platform.python_version()
    assert doctor.torch == torch.__version__
    assert doctor.threads == torch.get_num_threads()
    assert 1 <= doctor.cores <= (os.cpu_count() or 1)


def test_the_cpu_comes_first_and_computes_in_single_precision(doctor: Doctor) -> None:
    assert doctor.devices[0].name == "cpu"
    assert "fp32" in doctor.devices[0].precisions
    assert len({device.name for device in doctor.devices}) == len(doctor.devices)


def test_a_precision_is_listed_where_autocast_computes_in_it(doctor: Doctor) -> None:
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with torch.autocast("cpu", dtype):
            works = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is dtype

        assert (name in doctor.devices[0].precisions) is works


@pytest.mark.gpu
def test_every_cuda_device_is_listed_with_its_memory(doctor: Doctor) -> None:
    listed = [device for device in doctor.devices if device.name.startswith("cuda")]

    assert len(listed) == torch.cuda.device_count() > 0
    assert all(device.memory == torch.cuda.mem_get_info(index)[1] for index, device in enumerate(listed))


def test_its_packages_are_those_of_the_project_file(doctor: Doctor) -> None:
    if not doctor.packages:
        pytest.skip("stepsize is on a path here, not installed")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {("", text) for text in project["dependencies"]}
    asked |= {(extra, text) for extra, texts in project["optional-dependencies"].items() for text in texts}
    asked = {(extra, text) for extra, text in asked if not text.startswith("stepsize[")}

    expected = {(extra, re.split(r"[\[>=]", text)[0].strip()) for extra, text in asked}

    assert {(package.extra, package.name) for package in doctor.packages} == expected


def test_a_package_has_the_version_that_is_installed(doctor: Doctor) -> None:
    present = [package for package in doctor.packages if package.version is not None]

    assert all(package.version == metadata.version(package.name) for package in present)


def test_a_missing_package_comes_with_the_command_that_installs_it() -> None:
    assert Package("lightning", "bench", None).install == 'pip install "stepsize[bench]"'
    assert Package("numpy", "", None).install == "pip install numpy"


def test_only_packages_that_are_always_needed_stand_in_the_way(doctor: Doctor) -> None:
    whole = replace(doctor, packages=(Package("numpy", "", "2.0"), Package("lightning", "bench", None)))
    broken = replace(doctor, packages=(Package("numpy", "", None), *whole.packages))

    assert whole.missing == ()
    assert whole.status.startswith("Ready to train on cpu")
    assert broken.status == "Missing: numpy."


def test_it_lists_the_files_of_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.txt", "a.gz"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("STEPSIZE_DATA", str(tmp_path))

    doctor = report()

    assert doctor.data_folder == str(tmp_path)
    assert doctor.data_files == ("a.gz", "b.txt")


def test_a_data_folder_that_is_not_there_has_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPSIZE_DATA", str(tmp_path / "nowhere"))

    doctor = report()

    assert doctor.data_files == ()
    assert "nowhere: no files" in shown(doctor)


def test_no_data_folder_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPSIZE_DATA", raising=False)

    assert report().data_folder is None


def test_its_json_holds_every_field_and_survives_the_way_there_and_back(doctor: Doctor) -> None:
    content = doctor.to_json()

    assert json.loads(json.dumps(content))["devices"][0]["precisions"] == list(doctor.devices[0].precisions)
    assert set(content) == {"status", *Doctor.__dataclass_fields__}
    assert all(set(package) == {"name", "extra", "version", "install"} for package in content["packages"])


def test_what_it_shows_names_every_device_and_package(doctor: Doctor) -> None:
    made_up = replace(
        doctor,
        devices=(*doctor.devices, Device("cuda:0", "A [fast] card", 24 * 2**30, ("fp32", "bf16"))),
        packages=(Package("numpy", "", "2.0"), Package("lightning", "bench", None)),
    )

    text = shown(made_up)

    assert all(device.title in text for device in made_up.devices)
    assert "24.0" in text
    assert 'pip install "stepsize[bench]"' in text
    assert made_up.status in text


def test_it_leaves_the_random_state_and_the_precision_settings_alone() -> None:
    before = torch.get_rng_state(), torch.get_default_dtype(), torch.is_autocast_enabled("cpu")

    report()

    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_default_dtype(), torch.is_autocast_enabled("cpu")) == before[1:]
