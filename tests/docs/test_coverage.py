"""Whatever a user can name is on a page of the reference, and says something there."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable

import pytest
from docs import catalog_text, command_text, make_findings, make_reference, make_schedules
from docs.docstring_text import read

import stepsize
from stepsize import errors, schedules
from stepsize.monitor.rules.catalog import RULES as FINDING_RULES
from stepsize.optimizers import OPTIMIZERS
from stepsize.schedules import SCHEDULES, SHAPES
from stepsize.study.samplers import SAMPLERS
from stepsize.study.workers import WORKERS
from stepsize.tasks import TASKS

_HEADING = re.compile(r"^## (\S+) \{ #(\S+) \}$", flags=re.MULTILINE)


@functools.cache
def pages() -> dict[str, str]:
    return make_reference.reference_pages()


@functools.cache
def sections() -> dict[str, str]:
    """Return the text below each heading of the library's pages."""
    found: dict[str, str] = {}
    for name, text in pages().items():
        if name.startswith("reference/api/"):
            begins = [*_HEADING.finditer(text)]
            ends = [*(match.start() for match in begins[1:]), len(text)]
            found |= {match[1]: text[match.end() : end] for match, end in zip(begins, ends, strict=True)}
    return found


def lacking(names: Iterable[str], text: str) -> list[str]:
    """Return the names that no row or heading of ``text`` begins with."""
    return [name for name in names if not re.search(rf"^(\| `{name}`|#+ {name}$|`{name}`)", text, flags=re.MULTILINE)]


def test_every_public_name_has_a_section_that_says_something() -> None:
    wanted = [f"stepsize.{name}" for name in stepsize.__all__ if name not in ("__version__", "schedules")]
    wanted += [f"errors.{name}" for name in errors.__all__]
    wanted += [
        f"schedules.{name}"
        for name, thing in vars(schedules).items()
        if name[0] != "_" and (inspect.isfunction(thing) or isinstance(thing, type))
    ]

    assert len(wanted) > 80
    assert [name for name in wanted if len(sections().get(name, "").strip()) < 40] == []
    exported = [name for name in wanted if name.startswith("stepsize.")]
    assert [name for name in exported if f"`{name}`" not in pages()["reference/index.md"]] == []


def test_every_argument_of_a_public_function_is_explained() -> None:
    gaps = []
    for name, thing in make_reference.subjects().items():
        said = "\n".join(read(inspect.getdoc(thing) or "").sections.get("Args", ()))
        if inspect.isfunction(thing) and name.startswith(("stepsize.", "schedules.")):
            parameters = inspect.signature(thing).parameters
            gaps += [f"{name}({one})" for one in parameters if not re.search(rf"(?m)^\s*\*{{0,2}}{one}\b.*:", said)]
    assert gaps == []


def test_every_command_and_option_is_explained() -> None:
    page = pages()["reference/commands.md"]
    names = [name for name, _ in command_text.commands()]
    silent = [f"{name} {one.name}" for name, command in command_text.commands()
              for one in command_text.options(command) if not one.help]  # fmt: skip

    assert {"stepsize find", "stepsize sweep", "stepsize sweep show", "stepsize doctor"} <= set(names)
    assert [name for name in names if f"## {name} {{" not in page] == []
    assert [name for name, command in command_text.commands() if not (command.help or "").strip()] == []
    assert silent == []


@pytest.mark.parametrize(
    ("names", "page"),
    [
        (OPTIMIZERS, catalog_text.optimizers_page),
        (TASKS, catalog_text.tasks_page),
        (SAMPLERS, catalog_text.samplers_page),
        (WORKERS, catalog_text.samplers_page),
        ([rule.code for rule in FINDING_RULES], make_findings.page),
        (SCHEDULES, lambda: make_schedules.PAGE.read_text(encoding="utf-8")),
        (SHAPES, lambda: make_schedules.PAGE.read_text(encoding="utf-8")),
    ],
    ids=["optimizers", "tasks", "samplers", "workers", "findings", "schedules", "shapes"],
)
def test_every_entry_of_a_catalog_is_on_its_page(names: Iterable[str], page: Callable[[], str]) -> None:
    assert len([*names]) > 2
    assert lacking(names, page()) == []


def test_what_is_not_there_is_noticed() -> None:
    assert lacking(["no-such-rule"], catalog_text.optimizers_page()) == ["no-such-rule"]
    assert "stepsize.no_such_verb" not in sections()


def test_results_of_verbs_are_explained_too() -> None:
    assert {"study.Found", "probe.RangeTest", "study.SweepResult", "monitor.Report"} <= set(sections())


def test_no_section_shows_the_markup_of_docstrings() -> None:
    texts = "\n".join(pages().values())
    assert re.findall(r":(?:class|func|meth|data|mod):`", texts) == []
