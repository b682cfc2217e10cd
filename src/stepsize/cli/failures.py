"""What goes wrong: which exit code it has, and how much of a traceback helps."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import typer
from rich.text import Text

from stepsize.cli.output import messages, say
from stepsize.errors import DataUnavailableError, InputError, MissingExtraError, StepsizeError, UnknownStudyError

FAILED = 1
BAD_INPUT = 2
NO_ANSWER = 3
STOPPED = 130


@contextmanager
def reporting_failures() -> Iterator[None]:
    """Turn what is raised inside into a message on stderr and an exit code; a bug of stepsize itself comes through."""
    try:
        yield
    except KeyboardInterrupt:
        tell_stopped()
        raise typer.Exit(STOPPED) from None
    except StepsizeError as error:
        _tell_error(str(error), getattr(error, "__notes__", ()))
        bad_input = isinstance(error, InputError | DataUnavailableError | MissingExtraError | UnknownStudyError)
        raise typer.Exit(BAD_INPUT if bad_input else FAILED) from None
    except Exception as error:
        if isinstance(error, typer.Exit):
            raise
        if isinstance(error, OSError) and not task_frames(error):  # a full disk, a folder in the way
            _tell_error(f"a file could not be read or written: {error}")
        elif isinstance(error, MemoryError) and not task_frames(error):
            _tell_error(f"there is not enough memory: {error}. Ask for fewer steps, runs or members at once")
        elif _is_ours(error):
            raise
        else:
            say(task_traceback(error).rstrip())
            _tell_error("the task's own model, loss or data raised this.")
        raise typer.Exit(FAILED) from None


def check_answer(lr: float | None) -> None:
    """End with the exit code of no answer if there is no rate."""
    if lr is None:
        raise typer.Exit(NO_ANSWER)


def tell_stopped() -> None:
    """Say in one line that Ctrl-C was heard."""
    say("Interrupted before an answer was found.")


def task_traceback(error: BaseException) -> str:
    """Return the traceback of ``error`` with only the frames of the task's own code."""
    told = traceback.TracebackException.from_exception(error)
    link: traceback.TracebackException | None = told
    while link is not None:
        link.stack = traceback.StackSummary.from_list([frame for frame in link.stack if _is_theirs(frame.filename)])
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    lines = list(told.format())
    return "".join(line for index, line in enumerate(lines) if not _heads_nothing(lines, index))


def task_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of ``error`` that lie in the task's own code, the innermost last."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]


def _heads_nothing(lines: list[str], index: int) -> bool:
    following = lines[index + 1] if index + 1 < len(lines) else ""
    return lines[index].startswith("Traceback (") and not following.startswith("  File")


def _tell_error(text: str, notes: Iterator[str] | tuple[str, ...] = ()) -> None:
    messages().print(Text.assemble(("Error: ", "bold red"), text), soft_wrap=True)
    for note in notes:
        say(note)


def _is_ours(error: BaseException) -> bool:
    """Return whether the innermost frame of ``error`` is one of stepsize: a bug, not a failure of the task."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _inside(frames[-1].filename, _folder_of("stepsize"))


def _is_theirs(filename: str) -> bool:
    if filename.startswith("<"):  # frozen modules, and the constructors that dataclasses write
        return False
    if any(_inside(filename, _folder_of(package)) for package in ("stepsize", "torch", "typer", "rich")):
        return False
    library = _inside(filename, Path(sysconfig.get_path("stdlib")))
    return not library or "site-packages" in filename or "dist-packages" in filename


def _folder_of(package: str) -> Path:
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _inside(filename: str, folder: Path) -> bool:
    return Path(filename).is_relative_to(folder)
