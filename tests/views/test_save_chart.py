"""Charts into files, and the question beforehand whether that will work."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from stepsize.curves.lr_model import Point
from stepsize.errors import InputError
from stepsize.views import PLOT_SUFFIXES, Chart, answer_info, check_plot_path, draw, save_chart

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def chart() -> Chart:
    points = tuple(Point(lr, lr + 0.001 / lr) for lr in (0.01, 0.03, 0.1))
    return draw(answer_info(points, 10, lr=0.03))


@pytest.mark.parametrize(("suffix", "magic"), [
    (".png", b"\x89PNG\r\n\x1a\n"), (".PNG", b"\x89PNG\r\n\x1a\n"),
    (".svg", b"<svg"), (".pdf", b"%PDF-"), (".html", b"<!DOCTYPE html>"),
])  # fmt: skip
def test_the_suffix_names_the_format(chart: Chart, tmp_path: Path, suffix: str, magic: bytes) -> None:
    target = save_chart(chart, tmp_path / f"lr{suffix}")
    content = target.read_bytes().lstrip()
    assert content.startswith(magic)
    assert len(content) > 5000
    assert [path.name for path in tmp_path.iterdir()] == [f"lr{suffix}"]


def test_a_png_has_two_pixels_for_each_unit(chart: Chart, tmp_path: Path) -> None:
    content = save_chart(chart, tmp_path / "lr.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert 1280 < width < 1700
    assert 640 < height < 1200


def test_html_carries_its_scripts_within_itself(chart: Chart, tmp_path: Path) -> None:
    text = save_chart(chart, tmp_path / "lr.html").read_text(encoding="utf-8")
    markup = re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(src|href|url)\b", markup)
    assert re.findall(r"<script[^>]*>", text) == ['<script type="text/javascript">'] * 2
    assert not re.search(r"\bimport\s*(\(|[^;]{0,80}\bfrom)\s*[\"']https?:", text)
    assert "lr 0.03" in text
    assert len(text) > 500_000  # the renderer itself
    assert "@media (prefers-color-scheme: dark) { body, svg { background: #14191F" in text
    assert '"renderer": "svg"' in text


def test_the_own_save_of_a_chart_writes_the_same_page(chart: Chart, tmp_path: Path) -> None:
    text = save_chart(chart, tmp_path / "lr.html").read_text(encoding="utf-8")
    for own in (chart, chart.properties(width=300)):  # a changed chart is a copy
        own.save(str(tmp_path / "own.html"))
        page = (tmp_path / "own.html").read_text(encoding="utf-8")
        assert "src=" not in re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
        assert "https://cdn" not in page
        assert page.count("prefers-color-scheme") == text.count("prefers-color-scheme") >= 1
    chart.save(str(tmp_path / "own.svg"))
    assert (tmp_path / "own.svg").read_text(encoding="utf-8").startswith("<svg")


def test_texts_of_an_svg_are_the_ticks_and_titles_of_the_info(chart: Chart, tmp_path: Path) -> None:
    text = save_chart(chart, tmp_path / "lr.svg").read_text(encoding="utf-8")
    shown = re.findall(r"<text[^>]*>([^<]+)</text>", text)
    assert {"0.01", "0.02", "0.05", "0.1", "learning rate", "validation loss", "lr 0.03"} <= set(shown)


class Broken(alt.LayerChart):
    """A chart whose rendering fails."""

    def save(self, *_args: Any, **_options: Any) -> None:
        raise RuntimeError("cannot be drawn")


def test_a_failure_leaves_an_older_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "lr.png").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="cannot be drawn"):
        save_chart(Broken(), tmp_path / "lr.png")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("lr.png", b"old")]


def test_a_failure_while_moving_leaves_nothing_beside_it(
    chart: Chart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="disk gone"):
        save_chart(chart, tmp_path / "lr.svg")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link_and_its_target_is_written(chart: Chart, tmp_path: Path) -> None:
    (tmp_path / "link.svg").symlink_to(tmp_path / "real.svg")
    save_chart(chart, tmp_path / "link.svg")
    assert (tmp_path / "link.svg").is_symlink()
    assert (tmp_path / "real.svg").read_bytes().startswith(b"<svg")


@pytest.mark.parametrize("suffix", PLOT_SUFFIXES)
def test_a_good_path_passes_and_is_left_untouched(tmp_path: Path, suffix: str) -> None:
    assert check_plot_path(tmp_path / f"a{suffix}") == Path(os.path.realpath(tmp_path)) / f"a{suffix}"
    assert check_plot_path(str(tmp_path / f"a{suffix}")).name == f"a{suffix}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "message"), [
    ("lr.jpg", r"plot must end in \.png, \.svg, \.html or \.pdf; got .*lr\.jpg'\. Name it '.*/lr\.png'"),
    ("lr", r"plot must end in \.png, \.svg, \.html or \.pdf; got .*/lr'\. Name it '.*/lr\.png'"),
    ("lr.png.bak", r"plot must end in .*; got .*lr\.png\.bak'\. Name it '.*/lr\.png\.png'"),
    ("folder.png", "plot must be a file, not a folder; got"),
    ("", "plot must be a file, not a folder; got"),
    ("no/lr.png", r"plot must be in a folder that exists; got .*no/lr\.png'\. Create '.*no' first"),
    ("file/lr.png", r"plot must be in a folder; got .*is a file; choose another place"),
])  # fmt: skip
def test_a_path_that_cannot_be_written_is_refused_with_a_remedy(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        check_plot_path(tmp_path / name)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root may write to")
def test_a_folder_closed_to_writing_is_named() -> None:
    with pytest.raises(InputError, match=r"plot must be in a folder that can be written to; got '/proc/lr\.png'"):
        check_plot_path("/proc/lr.png")


def test_a_name_cannot_end_the_script_that_it_is_in(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>"
    chart = alt.Chart(alt.InlineData([{"a": 1}]), title=name).mark_point()

    text = save_chart(chart, tmp_path / "a.html").read_text(encoding="utf-8")

    assert name not in text
    assert "\\u003c/script>" in text
