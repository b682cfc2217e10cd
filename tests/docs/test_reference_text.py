"""Docstrings, signatures and commands become Markdown as they are meant."""

from __future__ import annotations

from dataclasses import dataclass

from docs.docstring_text import linked, read, sections_text
from docs.object_text import object_text, signature_text


def sample(first: int, *, second: str | None = None, **others: float) -> dict[str, int]:
    """Do one thing.

    With t the step:

        lr(t) = first · t

    Args:
        first: How many,
            in a second line.
        second: See :class:`~stepsize.Task`.
        others: The rest.

    Returns:
        What was
        asked for.

    Raises:
        ValueError: If it is wrong.

    Example:
        >>> 1 + 1
        2
    """
    return {"first": first, **{name: int(value) for name, value in others.items()}, "second": len(second or "")}


@dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        value: The number.
    """

    value: float

    @property
    def twice(self) -> float:
        """Twice the number."""
        return 2 * self.value

    def shown(self, digits: int = 3) -> str:
        """Return it as text."""
        return f"{self.value:.{digits}g}"


def test_a_docstring_is_cut_into_its_parts() -> None:
    doc = read(sample.__doc__ or "")

    assert doc.summary == "Do one thing."
    assert doc.body == "With t the step:\n\n```text\nlr(t) = first · t\n```"
    assert sections_text(doc, {"Task": "api/training.md#Task"}) == [
        "**Arguments**\n\n- `first`: How many, in a second line.\n- `second`: See [`Task`](api/training.md#Task).\n"
        "- `others`: The rest.",
        "**Returns.** What was asked for.",
        "**Raises**\n\n- `ValueError`: If it is wrong.",
        "**Example**\n\n```pycon\n>>> 1 + 1\n2\n```",
    ]


def test_a_reference_without_a_place_is_code() -> None:
    assert linked("see :meth:`BoundScheduler.step`", {}) == "see `step`"


def test_a_signature_is_broken_where_it_is_long() -> None:
    assert signature_text("sample", sample) == (
        "sample(first: int, *, second: str | None = None, **others: float) -> dict[str, int]"
    )
    assert signature_text("a_much_longer_name.sample", sample) == (
        "a_much_longer_name.sample(\n    first: int,\n    *,\n    second: str | None = None,\n"
        "    **others: float,\n) -> dict[str, int]"
    )


def test_a_result_shows_its_members_and_no_constructor() -> None:
    text = object_text("finder.Result", Result, {})

    assert text.startswith("## finder.Result { #Result }\n\nWhat came out.")
    assert "- `twice`: Twice the number." in text
    assert "- `shown(digits=3)`: Return it as text." in text
    assert "```python" not in text
