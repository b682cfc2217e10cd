"""Schedules in JSON: what goes out comes in again, and nothing else does."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from tests.schedules.strategies import leaves, open_schedules, settled_schedules

from stepsize.errors import InputError, UnknownNameError
from stepsize.schedules import (
    SCHEDULES,
    Schedule,
    Span,
    cosine,
    decay,
    from_json,
    function,
    linear,
    warm_restarts,
    wsd,
)
from stepsize.schedules.schedule import to_text


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_catalog_entry_comes_back_equal_open_and_settled(name: str) -> None:
    for eta in (SCHEDULES[name].example, SCHEDULES[name].typical(500)):
        assert from_json(json.loads(json.dumps(eta.to_json()))) == eta


@given(settled_schedules(max_length=50) | open_schedules() | leaves())
def test_whatever_is_written_comes_back_equal_and_as_the_same_text(eta: Schedule) -> None:
    text = to_text(eta.to_json())

    back = from_json(json.loads(text))

    assert back == eta
    assert to_text(back.to_json()) == text


@given(settled_schedules(max_length=50))
@settings(max_examples=40)
def test_what_comes_back_has_the_same_factors_bit_for_bit(eta: Schedule) -> None:
    assert from_json(eta.to_json()).factors().tolist() == eta.factors().tolist()


@pytest.mark.parametrize(
    "eta",
    [
        cosine(9, power=1 / 3),
        linear(Span(1 / 3, "share")),
        linear(Span(math.pi * 1e6, "tokens")),
        wsd("2ep", warmup="100k samples", cooldown="1.5M tok"),
        decay("2ep", warmup="5%"),
    ],
    ids=str,
)
def test_crooked_numbers_and_units_come_back_equal(eta: Schedule) -> None:
    assert from_json(json.loads(to_text(eta.to_json()))) == eta


def test_the_text_is_canonical() -> None:
    one, other = warm_restarts(5, growth=2), warm_restarts(5, growth=2.0, end=-0.0)

    assert to_text(one.to_json()) == to_text(other.to_json())
    assert to_text(linear(4).to_json()) == (
        '{"schedule":{"edges":"start","end":0.0,"kind":"ramp","shape":"linear","start":1.0,"steps":4},"schema":1}'
    )
    assert to_text({"b": 1, "a": [1.5, None, True]}) == '{"a":[1.5,null,true],"b":1}'


def test_a_text_cannot_hold_what_json_has_not() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_text({"a": math.nan})


def test_a_function_has_no_json_but_its_table_has() -> None:
    eta = function(lambda t: 1 / (1 + t), 5)

    with pytest.raises(InputError, match=r"holds a function, which cannot be written down; .* Write \.tabulated\(\)"):
        eta.then(linear(3)).to_json()
    assert from_json(eta.tabulated().to_json()).factors().tolist() == eta.factors().tolist()


RAMP = {"kind": "ramp", "steps": 4, "start": 1.0, "end": 0.0, "shape": "linear"}
CYCLE = {**RAMP, "kind": "one-cycle", "peak": 1.0, "rise": 0.3, "three_phase": False, "edges": "start"}
POINTS = {"kind": "points", "steps": None, "positions": [0, 4], "values": [1.0, 0.5], "between": "linear"}


def without(document: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != field}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**RAMP, "kind": "rampe"}, "^kind is not a known name; got 'rampe'. Did you mean 'ramp'"),
        ({**RAMP, "kind": "function"}, "^kind is not a known name; got 'function'"),
        ({**RAMP, "stop": 3}, "^ramp has no such field; it has: steps, start, end, shape, edges; got 'stop'$"),
        (without(RAMP, "end"), r"^ramp lacks the field 'end'; got \['shape', 'start', 'steps'\]$"),
        (without(RAMP, "kind"), "^schedule must be an object with a 'kind'; got "),
        ({**RAMP, "kind": 3}, "^schedule must be an object with a 'kind'; got "),
        ([RAMP], "^schedule must be an object with a 'kind'; got "),
        (None, "^schedule must be an object with a 'kind'; got None$"),
        ({**RAMP, "steps": 0}, "^steps must last at least 1 step; got 0"),
        ({**RAMP, "steps": 2.5}, "^steps must be a whole number of steps or a text with a unit; got 2.5"),
        ({**RAMP, "steps": "4 parsecs"}, "^steps has the unit 'parsecs'"),
        ({**RAMP, "steps": RAMP}, "^steps must be a single value; got "),
        ({**RAMP, "start": math.nan}, "^start must be a finite factor >= 0; got nan$"),
        ({**RAMP, "end": "0.1"}, "^end must be a number; got '0.1'$"),
        ({**RAMP, "end": [0.1]}, r"^end must be a single value; got \[0.1\]$"),
        ({**RAMP, "shape": "round"}, "^shape is not a known name; got 'round'"),
        ({**RAMP, "shape": 3}, "^shape must be a name like 'cosine'"),
        ({**RAMP, "edges": "middle"}, "^edges must be one of: start, end, both, neither; got 'middle'$"),
        ({**CYCLE, "three_phase": "no"}, "^three_phase must be true or false; got 'no'$"),
        ({**CYCLE, "three_phase": 1}, "^three_phase must be true or false; got 1$"),
        ({**POINTS, "positions": 5}, "^positions must be a list; got 5$"),
        ({**POINTS, "values": "1"}, "^values must be a list; got '1'$"),
        ({**POINTS, "values": [1.0]}, "^points must be as many positions as values"),
        ({"kind": "scaled", "inner": 5, "by": 2}, "^inner must be an object with a 'kind'; got 5$"),
        ({"kind": "then", "parts": RAMP}, "^parts must be a list; got "),
        ({"kind": "then", "parts": []}, r"^parts must hold at least one schedule; got \(\)$"),
        ({"kind": "then", "parts": [RAMP, 5]}, "^parts must be an object with a 'kind'; got 5$"),
        ({"kind": "repeated", "inner": RAMP, "times": 2.0, "per_cycle": 1.0}, "^times must be a whole number"),
        ({"kind": "extended", "inner": RAMP, "to": 8, "at": 2, "by": "magic"}, "^by must be 'stretching' or 'hold"),
        ({"kind": "within", "inner": RAMP, "steps": "x"}, "^steps is not a duration; got 'x'"),
    ],
)
def test_content_that_was_never_written_is_refused(content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_json({"schema": 1, "schedule": content})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"schema": 2, "schedule": RAMP}, "^schema must be 1; got 2. A newer stepsize may have written it$"),
        ({"schema": "1", "schedule": RAMP}, "^schema must be 1; got '1'"),
        ({"schedule": RAMP}, r"^document must be an object with the keys 'schema' and 'schedule', .* \['schedule'\]$"),
        ({"schema": 1, "schedule": RAMP, "x": 1}, "^document must be an object with the keys 'schema' and 'schedule'"),
        (RAMP, "^document must be an object with the keys 'schema' and 'schedule', and no other; got "),
        ([1], "^document must be an object with the keys 'schema' and 'schedule', and no other; got 'list'$"),
        ("{}", "^document must be an object with the keys 'schema' and 'schedule', and no other; got 'str'$"),
    ],
)
def test_another_document_is_refused(document: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_json(document)


def test_an_unknown_kind_is_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="Known: cooled-down, delayed, exponential, extended"):
        from_json({"schema": 1, "schedule": {"kind": "zigzag"}})
