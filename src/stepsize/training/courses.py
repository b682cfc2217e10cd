"""The courses of all parameter groups: written down with a training's state, compared, and changed on resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules import Clock, Course, Peaks, Schedule, constant, from_json
from stepsize.schedules.schedule import to_text
from stepsize.schedules.shapes import Array

__all__ = ["Courses", "SavedCourses"]

_PROBES = 65  # steps at which a schedule that cannot be written down is looked at
_FAR = 1e6  # how far where it has no end
_MOST_CHECKED = 1 << 20  # updates up to which a momentum is checked at each
Key = tuple[int, int]  # number of the optimizer, number of the group in it
_MAIN: Key = (-1, -1)


@final
@dataclass(frozen=True)
class Courses:
    """A course for all parameter groups, and those of single groups.

    Args:
        main: Of every group without its own, those added later included.
        by_group: Of single groups, by the numbers of optimizer and group.
    """

    main: Course
    by_group: Mapping[Key, Course]

    def of(self, optimizer: int, group: int) -> Course:
        """Return what a group follows."""
        return self.by_group.get((optimizer, group), self.main)

    @property
    def length(self) -> int | None:
        """The number of updates after which all have ended; None if one has no end."""
        lengths = [course.length for _, course in self._all()]
        return None if None in lengths else max(length for length in lengths if length is not None)

    def settled(self, steps: Any, clock: Clock | None) -> Courses:
        """Return them with all durations in steps.

        Raises:
            InputError: If a duration is open and there are no ``steps``, or it cannot be settled.
        """
        return Courses(
            _settled("schedule", self.main, steps, clock),
            {key: _settled("groups", course, steps, clock) for key, course in self.by_group.items()},
        )

    def check(self) -> None:
        """Raise InputError where a factor or a momentum breaks its rule, at probes over the whole length."""
        for _, course in self._all():
            steps = _probes(course)
            if course.momentum is not None and course.length is not None:
                steps = np.linspace(0, course.length, min(course.length, _MOST_CHECKED) + 1).round()
            course.values(Peaks(lr=1.0, momentum=0.0, weight_decay=1.0), steps)

    def to_text(self) -> str:
        """Return them as one JSON text; of what holds a function its words and a digest of its factors."""
        return to_text({_name(key): _document(course) for key, course in self._all()})

    def continued(self, saved: SavedCourses, step: int) -> Courses:
        """Return what was ``saved`` up to ``step`` and these from there, without a leap of any group's factor.

        A group whose course is still the one that was asked for stays on what it follows.

        Raises:
            InputError: If that is not possible, or could not be written down again.
        """
        keys = {*self.by_group, *saved.keys()} - {_MAIN}
        return Courses(
            _carried(saved, _MAIN, self.main, step),
            {key: _carried(saved, key, self.of(*key), step) for key in sorted(keys)},
        )

    def __str__(self) -> str:
        return "; ".join(_label(key) + words(course) for key, course in self._all())

    def _all(self) -> Iterator[tuple[Key, Course]]:
        yield _MAIN, self.main
        yield from sorted(self.by_group.items(), key=lambda item: item[0])


@final
class SavedCourses:
    """What a state says that was asked for, and what was followed where that was changed since.

    Args:
        asked: The text of what was asked for.
        followed: The text of what was followed; None for the same.

    Raises:
        InputError: If a text is not of this form.
    """

    def __init__(self, asked: str, followed: str | None) -> None:
        self._asked = _parsed("asked", asked)
        self._followed = self._asked if followed is None else _parsed("course", followed)

    def keys(self) -> list[Key]:
        """Return which groups have their own."""
        return list(self._followed)

    def asked_for(self, key: Key, course: Course) -> bool:
        """Return whether ``course`` is what was asked for then."""
        document = self._asked.get(key, self._asked[_MAIN])
        if "function" in document or _holds_function(course):
            mine = _document(course)
            return {**mine, "function": ""} == {**document, "function": ""}  # names may change, factors not
        return _course(document) == course

    def same(self, courses: Courses) -> bool:
        """Return whether ``courses`` are what was asked for then."""
        keys = {*self._asked, *courses.by_group, _MAIN}
        return all(self.asked_for(key, courses.of(*key)) for key in keys)

    def followed(self, courses: Courses) -> Courses:
        """Return what was followed, given that ``courses`` are what was asked for."""
        if self._followed == self._asked:
            return courses
        own = {key: self.one_followed(key, courses.of(*key)) for key in self._followed if key != _MAIN}
        return Courses(self.one_followed(_MAIN, courses.main), own)

    def one_followed(self, key: Key, asked: Course | None = None) -> Course:
        """Return what a group followed; ``asked`` is what was asked for, where that is known.

        Raises:
            InputError: If it was a function, which cannot be written down.
        """
        document = self._followed.get(key, self._followed[_MAIN])
        if asked is not None and document == self._asked.get(key, self._asked[_MAIN]):
            return asked
        if "function" in document:
            raise InputError(
                "on_change",
                "continue",
                f"cannot go on from '{document['function']}': of a function only a digest could be saved",
                "Train on its .tabulated() from the beginning, or pass on_change='restart'",
            )
        return _course(document)

    def __str__(self) -> str:
        return "; ".join(
            _label(key) + (document["function"] if "function" in document else words(_course(document)))
            for key, document in sorted(self._asked.items(), key=lambda item: item[0])
        )


def words(course: Course) -> str:
    """Return a course for people."""
    text = str(course.rate)
    if course.momentum is not None:
        text += f", momentum {course.momentum}" + (" with lr / (1 - momentum) kept" * course.keep_effective)
    return text if course.weight_decay == "follows" else f"{text}, weight decay {course.weight_decay}"


def _settled(argument: str, course: Course, steps: Any, clock: Clock | None) -> Course:
    horizon = clock.horizon if steps is None and clock is not None else steps
    if horizon is not None:
        return course.over(horizon, clock)
    if not course.settled:
        reason = next(part.node.open for part in _schedules(course) if part.node.open)
        raise InputError(argument, reason, "has durations that are not in steps", "Pass steps=, the updates in all")
    return course


def _carried(saved: SavedCourses, key: Key, new: Course, step: int) -> Course:
    if saved.asked_for(key, new):
        return saved.one_followed(key, new)
    old = saved.one_followed(key)
    if step == 0:
        return new
    if new.length is not None and step > new.length:
        remedy = "Give a longer horizon, or on_change='restart'"
        raise InputError("schedule", words(new), f"ends before the {step:,} updates already made", remedy)
    rate = old.rate
    if rate.length is not None and step > rate.length:  # it has been holding its last factor since
        rate = rate.then(constant(step - rate.length, factor=rate(rate.length)))
    try:
        changed = Course(rate.switched(new.rate, at=step), new.momentum, new.weight_decay, new.keep_effective)
        changed.to_json()  # or the next state could not be written
    except InputError as problem:
        remedy = "Pass on_change='restart' to begin anew"
        if _holds_function(new):
            remedy = "Bind its .tabulated() instead"
        rule = f"is not possible at step {step:,}: '{problem.argument}' {problem.rule}"
        raise InputError("on_change", "continue", rule, remedy) from problem
    return changed


def _document(course: Course) -> dict[str, Any]:
    if not _holds_function(course):
        return course.to_json()
    steps = _probes(course)
    seen = course.values(Peaks(lr=1.0, momentum=0.0, weight_decay=1.0), steps)
    arrays = [part for part in (course.rate(steps), seen.momentum, seen.weight_decay) if part is not None]
    figures = "|".join(",".join(f"{value:.9e}" for value in part.tolist()) for part in arrays)  # no matter the libm
    digest = hashlib.sha256(figures.encode()).hexdigest()
    return {"function": words(course), "length": course.length, "digest": digest}


def _holds_function(course: Course) -> bool:
    try:
        course.to_json()
    except InputError:
        return True
    return False


def _probes(course: Course) -> Array:
    if course.length is None:
        far = np.geomspace(1, _FAR, _PROBES - 1)
        return np.asarray(np.unique(np.round([0.0, *far])), dtype=np.float64)
    return np.asarray(np.unique(np.round(np.linspace(0, course.length, _PROBES))), dtype=np.float64)


def _course(document: Mapping[str, Any]) -> Course:
    fields = {"rate", "momentum", "weight_decay", "keep_effective"}
    if set(document) != fields:
        raise InputError("state", sorted(document), f"must have the fields {', '.join(sorted(fields))} in a course")
    momentum, decay = document["momentum"], document["weight_decay"]
    return Course(
        from_json(document["rate"]),
        None if momentum is None else from_json(momentum),
        from_json(decay) if isinstance(decay, Mapping) else decay,
        document["keep_effective"],
    )


def _parsed(argument: str, text: object) -> dict[Key, Mapping[str, Any]]:
    try:
        content = json.loads(text) if isinstance(text, str) else None
        found = {_key(name): document for name, document in content.items()} if isinstance(content, dict) else {}
    except (ValueError, RecursionError):
        found = {}
    if _MAIN not in found or not all(isinstance(document, dict) for document in found.values()):
        raise InputError(argument, text, "must be a text that a Bound wrote into its state")
    return found


def _name(key: Key) -> str:
    return "all" if key == _MAIN else f"{key[0]}.{key[1]}"


def _key(name: str) -> Key:
    if name == "all":
        return _MAIN
    optimizer, group = name.split(".")
    return int(optimizer), int(group)


def _label(key: Key) -> str:
    if key == _MAIN:
        return ""
    return f"group {key[1]}: " if key[0] == 0 else f"group {key[1]} of optimizer {key[0]}: "


def _schedules(course: Course) -> list[Schedule]:
    return [part for part in (course.rate, course.momentum, course.weight_decay) if isinstance(part, Schedule)]
