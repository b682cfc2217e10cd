from __future__ import annotations

import math
from pathlib import Path

from benchmarks.workers import Progress, each_done


def test_a_job_that_fails_does_not_stop_the_others() -> None:
    results = dict(each_done(math.sqrt, [4.0, -1.0, 9.0], workers=1))
    assert (results[4.0], results[9.0]) == (2.0, 3.0)
    assert isinstance(results[-1.0], ValueError)


def test_nothing_to_do_starts_no_process() -> None:
    assert list(each_done(math.sqrt, [], workers=1)) == []


def test_progress_tells_the_fraction_done_and_what_is_left(tmp_path: Path) -> None:
    progress = Progress("truth", total=10.0, workers=2, file=tmp_path / "status", every=0.0)
    progress.advance(2.5, "the first")
    lines = (tmp_path / "status").read_text(encoding="utf-8").splitlines()
    assert "about 0.1 min with 2 workers" in lines[0]
    assert "truth: 25.0% (1 jobs)" in lines[1]
    assert lines[1].endswith("last: the first")
