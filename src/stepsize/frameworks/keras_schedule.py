"""Schedules for Keras: a LearningRateSchedule that saves and loads with its model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from stepsize.checks import check_whole
from stepsize.errors import InputError, needing
from stepsize.frameworks.table import rate_table
from stepsize.schedules import parse, write

if TYPE_CHECKING:
    from stepsize.schedules import Schedule

_FIELDS = ("schedule", "lr", "steps", "accumulate")


def to_keras(schedule: Schedule, lr: float, steps: int | None = None, *, accumulate: int = 1) -> Any:
    """Return ``schedule`` as a ``keras.optimizers.schedules.LearningRateSchedule``.

    Keras calls its schedules with a counter of micro-batches: under ``gradient_accumulation_steps=k`` its own schedules
    run k times too fast. Pass ``accumulate=k``, and the schedule counts updates. It reads a table that is computed in
    float64 and rounded once to ``keras.config.floatx()``.

    It is saved with a model as the written form of the schedule. To load such a model in a new process, first call
    :func:`keras_schedule`, which registers the class with Keras.

    Args:
        schedule: A schedule, whose relative durations ``steps`` resolves; to be saved it must not contain a function
            (use ``.tabulated()``).
        lr: Peak learning rate (factor 1).
        steps: Number of updates in the table. Defaults to the schedule's length; after it the learning rate is held.
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
    rate_table(schedule, lr, steps)  # errors are raised before Keras is loaded, which takes a while
    check_whole("accumulate", accumulate, unit="micro-batches")
    return keras_schedule()(schedule, lr, steps, accumulate)


@functools.cache
def keras_schedule() -> Callable[[Schedule, float, int | None, int], Any]:
    """Return the class of what :func:`to_keras` returns, and register it with Keras as ``stepsize>Scheduled``.

    Returns:
        A subclass of ``keras.optimizers.schedules.LearningRateSchedule``.

    Raises:
        MissingExtraError: If Keras is not installed.
    """
    with needing("keras", only="keras"):  # not its backend
        import keras

    # Defined here, since its base class exists only after Keras is loaded.
    @keras.saving.register_keras_serializable(package="stepsize")
    class Scheduled(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc,unused-ignore]
        """The table of a schedule, called with micro-batches."""

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
