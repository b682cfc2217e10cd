"""Schedules for Keras: a LearningRateSchedule that saves and loads with its model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from stepsize.errors import InputError, MissingExtraError
from stepsize.frameworks.table import rate_table
from stepsize.schedules import parse, write

if TYPE_CHECKING:
    from stepsize.schedules import Schedule

__all__ = ["keras_schedule", "to_keras"]

_FIELDS = ("schedule", "lr", "steps", "accumulate")


def to_keras(schedule: Schedule, lr: float, steps: int | None = None, *, accumulate: int = 1) -> Any:
    """Return ``schedule`` as a ``keras.optimizers.schedules.LearningRateSchedule``.

    Keras asks its schedules with a counter of micro-batches: under ``gradient_accumulation_steps=k`` every schedule of
    its own runs k times too fast, and it does not tell them k. Say it here, ``accumulate=k``, and the schedule counts
    updates. It looks up a table that is made in float64 and rounded once to ``keras.config.floatx()``.

    It is saved with a model as the JSON of the schedule. To load such a model in a new process, call
    :func:`keras_schedule` before, which makes the class known to Keras.

    Args:
        schedule: A resolved schedule; to be saved it must not contain a function (``.tabulated()`` is the way out).
        lr: The peak rate, where the factor is 1.
        steps: How many updates the table holds; default the schedule's length. Behind it the rate stays.
        accumulate: The optimizer's ``gradient_accumulation_steps``.

    Returns:
        A LearningRateSchedule.

    Raises:
        InputError: If an argument breaks its rule, or the schedule has no end and ``steps`` is not given.
        MissingExtraError: If Keras is not installed.

    Example:
        ```python
        rate = to_keras(stepsize.schedules.cosine(10_000, warmup=500), lr=3e-3, accumulate=4)
        optimizer = keras.optimizers.AdamW(rate, gradient_accumulation_steps=4)
        ```
    """
    rate_table(schedule, lr, steps)  # what can be wrong with it is said before Keras is loaded, which takes a while
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
        raise InputError("accumulate", accumulate, "must be a whole number of micro-batches, at least 1")
    return keras_schedule()(schedule, lr, steps, accumulate)


@functools.cache
def keras_schedule() -> Callable[[Schedule, float, int | None, int], Any]:
    """Return the class of what :func:`to_keras` returns, and make it known to Keras as ``stepsize>Scheduled``.

    Returns:
        A subclass of ``keras.optimizers.schedules.LearningRateSchedule``.

    Raises:
        MissingExtraError: If Keras is not installed.
    """
    try:
        import keras
    except ModuleNotFoundError as error:
        if error.name != "keras":
            raise  # Keras is there, and its backend is not
        raise MissingExtraError("keras", "keras") from None

    # Made here, for its base is not to be had before Keras is loaded.
    @keras.saving.register_keras_serializable(package="stepsize")
    class Scheduled(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc,unused-ignore]
        """The table of a schedule, asked for micro-batches."""

        def __init__(self, schedule: Schedule, lr: float, steps: int | None, accumulate: int) -> None:
            rates = rate_table(schedule, lr, steps)
            self._made_of = (schedule, lr, steps, accumulate)
            self._last = len(rates) - 1
            self._table = keras.ops.convert_to_tensor(rates, dtype=keras.config.floatx())

        def __call__(self, step: Any) -> Any:
            update = keras.ops.floor_divide(keras.ops.cast(step, "int32"), self._made_of[3])
            return keras.ops.take(self._table, keras.ops.clip(update, 0, self._last))

        def get_config(self) -> dict[str, Any]:
            schedule, *rest = self._made_of
            return dict(zip(_FIELDS, (write(schedule), *rest), strict=True))

        @classmethod
        def from_config(cls, config: Mapping[str, Any]) -> Self:
            if set(config) != set(_FIELDS):
                raise InputError("config", sorted(config), f"must have the fields {', '.join(_FIELDS)}, and no other")
            return cls(parse(config["schedule"]), *(config[field] for field in _FIELDS[1:]))

        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return _again, self._made_of

        def __repr__(self) -> str:
            return "to_keras({!r}, lr={:g}, steps={}, accumulate={})".format(*self._made_of)

    return Scheduled


def _again(schedule: Schedule, lr: float, steps: int | None, accumulate: int) -> Any:
    return to_keras(schedule, lr, steps, accumulate=accumulate)
