"""`stepsize train --watch`, `--guard` and `stepsize diagnose`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke, WriteTask

_STEEP = "task = make(steps=300)"


def test_a_watched_training_is_the_same_with_findings_as_json_and_a_page_in_one_file(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path
) -> None:
    given = ("train", write_task(_STEEP), "--lr", "1e-5", "--json")
    plain = json.loads(invoke(*given).stdout)
    done = invoke(*given, "--watch", "--html", "report.html")
    told = json.loads(done.stdout)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert done.exit_code == 0
    assert (told["losses"], told["val_loss"]) == (plain["losses"], plain["val_loss"])
    assert told["verdict"]["code"] == "too low"
    (finding,) = [one for one in told["findings"] if one["code"] == "too-low"]
    assert set(finding) >= {"code", "severity", "evidence", "remedy", "step"}
    assert finding["factor"] > 1
    assert "Report saved to" in done.stderr
    assert page.count("<svg") >= 4
    assert "too-low" in page
    assert "<script" not in page
    assert 'src="http' not in page


def test_a_fork_says_which_way_is_better(invoke: Invoke, write_task: WriteTask) -> None:
    given = ("train", write_task("task = make(steps=120)"), "--lr", "1e-3", "--fork")
    told = json.loads(invoke(*given, "--json").stdout)
    assert told["fork"]["factor"] == 2
    assert "Forked at step 30" in " ".join(invoke(*given).stdout.split())


def test_the_progress_of_a_watched_training_names_no_loss_that_it_does_not_know(
    invoke: Invoke, write_task: WriteTask
) -> None:
    given = ("train", write_task("task = make(steps=20)"), "--lr", "1e-3")
    bare, watched = invoke(*given), invoke(*given, "--watch")
    assert "train small:  50%, step 10 of 20, loss " in bare.stderr
    assert "train small:  50%, step 10 of 20\n" in watched.stderr
    assert "not known" not in bare.stderr + watched.stderr


def test_a_guarded_training_at_a_rate_that_diverges(invoke: Invoke, write_task: WriteTask) -> None:
    given = ("train", write_task(_STEEP), "--optimizer", "momentum", "--lr", "3", "--json")
    told = json.loads(invoke(*given, "--guard").stdout)
    assert invoke(*given).exit_code == 3
    assert told["actions"]
    assert told["stopped"] is not None or told["val_loss"] is not None


@pytest.mark.parametrize("command", [("train", "digits-mlp", "--lr", "1e-3"), ("report",), ("diagnose", "log.csv")])
@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("page.txt", "html must end in .html or .htm; got 'page.txt'. Name it 'page.html'"),
        ("nowhere/page.html", "html must be in a folder that exists; got 'nowhere/page.html'. Create '"),
    ],
)
def test_the_place_of_a_page_is_checked_first(
    invoke: Invoke, command: tuple[str, ...], page: str, message: str
) -> None:
    Path("log.csv").write_text("step,loss\n" + "".join(f"{n},1.0\n" for n in range(20)), encoding="utf-8")
    done = invoke(*command, "--html", page)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_file_that_cannot_be_written_is_not_blamed_on_the_task(invoke: Invoke) -> None:
    Path("log.csv").write_text("step,loss\n" + "".join(f"{n},1.0\n" for n in range(20)), encoding="utf-8")
    Path("page.html").symlink_to("/dev/full")
    done = invoke("diagnose", "log.csv", "--html", "page.html")
    assert done.exit_code == 1
    assert "Error: a file could not be read or written: " in done.stderr
    assert "No space left" in done.stderr
    assert "the task's own" not in done.stderr


def test_diagnose_reads_a_log(invoke: Invoke, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("step,loss,lr\n" + "".join(f"{n},{1.0 if n < 50 else 'nan'},0.1\n" for n in range(90)))
    done = invoke("diagnose", str(log), "--json")
    assert done.exit_code == 0
    assert [one["code"] for one in json.loads(done.stdout)["findings"]] == ["diverging"]
    bad = invoke("diagnose", str(tmp_path / "none.csv"))
    assert bad.exit_code == 2
    assert "log must be an existing file or folder" in " ".join(bad.stderr.split())
