"""Errors say what was wrong and what to do, fit Python's own tree, and travel between processes."""

from __future__ import annotations

import pickle

import pytest

from stepsize import errors
from stepsize.errors import (
    DataUnavailableError,
    InputError,
    MissingExtraError,
    NotStackableError,
    ScheduleSyntaxError,
    StepsizeError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    StoreReadOnlyError,
    StoreVersionError,
    TaskError,
    UnknownNameError,
    UnknownStudyError,
)

EXAMPLES = (
    StepsizeError("something"),
    InputError("lr", -1.0, "must be positive", "Give a rate above 0"),
    TaskError("steps", 0, "must be at least 1"),
    UnknownNameError("optimizer", "adamv", ["sgd", "adamw", "adam"]),
    ScheduleSyntaxError("cosin", 0, "'cosin' is not a schedule", "Did you mean 'cosine'?", 5),
    DataUnavailableError("no folder at ./data"),
    MissingExtraError("lightning", "bench"),
    NotStackableError("the optimizer has step hooks"),
    StoreError("cannot reach postgresql://ann@host/lab"),
    StoreLockedError("stepsize.db is locked"),
    StoreReadOnlyError("stepsize.db may not be written"),
    StoreCorruptError("stepsize.db is damaged"),
    StoreVersionError("stepsize.db is newer"),
    UnknownStudyError("digit", "stepsize.db", ["photos", "digits"]),
)
TREE = (
    (InputError, ValueError),
    (TaskError, InputError),
    (UnknownNameError, InputError),
    (ScheduleSyntaxError, InputError),
    (DataUnavailableError, FileNotFoundError),
    (MissingExtraError, ImportError),
    (NotStackableError, StepsizeError),
    (StoreLockedError, StoreError),
    (StoreReadOnlyError, StoreError),
    (StoreCorruptError, StoreError),
    (StoreVersionError, StoreError),
    (UnknownStudyError, StoreError),
    (UnknownStudyError, LookupError),
)


def test_every_error_has_an_example_here() -> None:
    assert {type(example).__name__ for example in EXAMPLES} == set(errors.__all__)


@pytest.mark.parametrize(("child", "parent"), TREE)
def test_an_error_is_caught_by_the_builtin_that_fits(child: type[Exception], parent: type[Exception]) -> None:
    assert issubclass(child, parent)
    assert issubclass(child, StepsizeError)


@pytest.mark.parametrize("name", errors.__all__)
def test_the_drawn_tree_names_every_error(name: str) -> None:
    assert name in (errors.__doc__ or "")


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: StepsizeError) -> None:
    back = pickle.loads(pickle.dumps(error))

    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.args == error.args
    assert vars(back) == vars(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("lr", -1.0, "must be positive"), "lr must be positive; got -1.0"),
        (InputError("lr", 0, "must be positive", "Give 1e-3"), "lr must be positive; got 0. Give 1e-3"),
        (
            UnknownNameError("optimizer", "adamv", ["sgd", "adamw"]),
            "optimizer is not a known name; got 'adamv'. Did you mean 'adamw'? Known: adamw, sgd",
        ),
        (DataUnavailableError("no folder at ./data"), "no folder at ./data"),
        (DataUnavailableError(), ""),
        (
            MissingExtraError("lightning", "bench"),
            'lightning is not installed; run: pip install "stepsize[bench]"',
        ),
        (
            UnknownStudyError("digit", "stepsize.db", ["photos", "digits"]),
            "stepsize.db has no study 'digit'; it holds digits, photos. Did you mean 'digits'?",
        ),
        (UnknownStudyError("digit", "stepsize.db"), "stepsize.db has no study 'digit'; it holds none."),
    ],
)
def test_a_message_names_the_argument_the_value_the_rule_and_the_remedy(error: StepsizeError, text: str) -> None:
    assert str(error) == text


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    assert "Did you mean" not in str(UnknownNameError("optimizer", "zzz", ["sgd", "adamw"]))


@pytest.mark.parametrize(("length", "cut"), [(118, False), (119, True)])
def test_a_long_value_is_cut_in_the_message_and_kept_on_the_error(length: int, cut: bool) -> None:
    value = "x" * length

    error = InputError("name", value, "must be short")

    assert error.received == value
    assert str(error).endswith("...") is cut
    assert len(str(error)) == len("name must be short; got ") + 120


def test_a_value_that_cannot_be_written_is_named_by_its_type() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise AttributeError

    deep: dict[str, object] = {}
    for _ in range(20_000):
        deep = {"a": deep}
    assert str(InputError("model", Broken(), "must be a module")) == "model must be a module; got a Broken"
    assert str(InputError("spec", deep, "must be flat")) == "spec must be flat; got a dict"
