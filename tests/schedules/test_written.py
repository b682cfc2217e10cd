"""The written form: what it reads, what it writes, and where it points when it cannot read."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.schedules.strategies import leaves, open_schedules, settled_schedules

from stepsize.errors import InputError, ScheduleSyntaxError
from stepsize.schedules import (
    SCHEDULES,
    Schedule,
    ScheduleEntry,
    Shape,
    constant,
    cooldown,
    cosine,
    decay,
    exponential,
    function,
    linear,
    multi_step,
    one_cycle,
    one_cycle_momentum,
    parse,
    points,
    polynomial,
    step_decay,
    warmup,
    write,
    wsd,
)
from stepsize.schedules.algebra import Within
from stepsize.schedules.units import as_duration

ENTRIES = tuple(SCHEDULES.values())
KNOWN = ", ".join(SCHEDULES)
CHANGES = "floored, capped, repeated, first, after, cooled-down, extended, switched, within"

MEANINGS: dict[str, Schedule] = {
    "warmup 5% linear, constant 75%, cooldown 20% 1-sqrt": warmup("5%").then(constant("75%")).then(cooldown("20%")),
    "cosine warmup=5% end=0.1": cosine(warmup="5%", end=0.1),
    "cosine end = 1e-3": cosine(end=1e-3),
    "wsd": wsd(),
    "wsd warmup=none": wsd(warmup=None),
    "step every=30% gamma=0.3": step_decay("30%", gamma=0.3),
    "step 100 steps gamma=.3": step_decay(100, gamma=0.3),
    "multi-step milestones=50%|75%": multi_step(["50%", "75%"]),
    "multi-step 50% | 75% | floored 0.1": multi_step(["50%", "75%"]).floored(0.1),
    "cosine warmup=5% | capped 0.8": cosine(warmup="5%").capped(0.8),
    "points values=0:0.1|20%:1|100%:0 between=cosine": points({0: 0.1, "20%": 1, "100%": 0}, between="cosine"),
    "points 0:1|50 samples:0.1 between=none": points({0: 1, "50 samples": 0.1}, between=None),
    "linear 100 start=0.5": linear(100, start=0.5),
    "one-cycle three_phase": one_cycle(three_phase=True),
    "one-cycle start=0.95 peak=0.85 end=0.95": one_cycle_momentum(),
    "warmup 500 exponential start=0.01, polynomial(3)": (
        warmup(500, shape="exponential", start=0.01).then(polynomial(power=3))
    ),
    "warmup 5% shape=constant start=0.1": constant("5%", factor=0.1),
    "decay tanh( -7, 3 )": decay(shape=Shape("tanh")),
    "waves(2.5) 300": decay(300, shape="waves(2.5)"),
    "linear 1.5M tok, linear 100k samples": linear("1.5M tok").then(linear("100k samples")),
    "linear 2 epochs\n\t, linear 5 %": linear("2ep").then(linear("5%")),
    "linear 100 * exp gamma=0.9": linear(100).times(exponential(0.9)),
    "constant 5, linear 9 * constant * exp gamma=0.9": (
        constant(5).then(linear(9).times(constant()).times(exponential(0.9)))
    ),
    "linear 9 * (constant * exp gamma=0.9)": linear(9).times(constant().times(exponential(0.9))),
    "linear 9 * 0.5": linear(9).scaled(0.5),
    "0.5 * linear 9": constant(factor=0.5).times(linear(9)),
    "(linear 100, constant 5) | repeated 3": linear(100).then(constant(5)).repeated(3),
    "constant 5, linear 9 | floored 0.1": constant(5).then(linear(9).floored(0.1)),
    "(constant 5, linear 9) | floored 0.1": constant(5).then(linear(9)).floored(0.1),
    "linear 9 * constant 9 | floored 0.5": linear(9).times(constant(9).floored(0.5)),
    "linear 9 | repeated 2 | floored 0.5 | repeated 2": linear(9).repeated(2).floored(0.5).repeated(2),
    "constant | first 500": constant().first(500),
    "linear 9 | extended 5000": linear(9).extended(5_000),
    "1-power(3) 100 start=0.5 endpoints=both": decay(100, shape="1-power(3)", start=0.5, endpoints="both"),
    "1-power": decay(shape="1-power"),
    "constant | cooled-down at=8000 over=20% shape=linear end=0": (
        constant().cooled_down(at=8_000, over="20%", shape="linear")
    ),
    "linear 1000 | extended 2000 at=500 by=holding": linear(1_000).extended(to=2_000, at=500, by="holding"),
    "linear 9 | repeated times=3 per_cycle=0.5": linear(9).repeated(3, per_cycle=0.5),
    "linear 9 | repeated": linear(9).repeated(),
    "linear 1000 | switched (constant, cosine 50%) at=500": (
        linear(1_000).switched(constant().then(cosine("50%")), at=500)
    ),
    "linear | within 50%": Schedule(Within(linear().node, as_duration("steps", "50%"))),
}

CANONICAL = {
    "warmup 5% linear, constant 75%, cooldown 20% 1-sqrt": "warmup 5%, constant 75%, cooldown 20%",
    "cosine warmup=5% end=0.10": "warmup 5%, cosine end=0.1",
    "cosine 50% warmup=5%": "(warmup 5%, cosine) | within 50%",
    "decay shape=linear": "linear",
    "points values=0:1|50%:0.1 between=linear": "points 0:1|50%:0.1",
    "points values=0:1|50%:0.1 between=none": "points 0:1|50%:0.1 between=none",
    "((linear 5))": "linear 5",
    "linear 5 | repeated times=3 per_cycle=1": "linear 5 | repeated 3",
    "linear 5 | repeated times=3 per_cycle=0.5": "linear 5 | repeated 3 per_cycle=0.5",
    "triangular2 10": "triangular 10 per_cycle=0.5",
    "decay shape=cosine(2) 100": "cosine(2) 100",
    "cosine 100 power=2": "cosine(2) 100",
    "1-sqrt 20%": "cooldown 20%",
    "decay 100 start=0.5": "decay 100 start=0.5",
    "linear 100 start=0.5 end=1": "warmup 100 start=0.5 endpoints=start",
    "linear end=1 start=0.5": "decay start=0.5 end=1",
    "exp 10 steps=100 gamma=0.5": "exp 10 gamma=0.5 steps=100",
    "linear 9 | extended 18 by=holding at=3": "linear 9 | extended 18 at=3 by=holding",
    "constant 9 | switched (linear 9) 3": "constant 9 | switched (linear 9) at=3",
    "linear 4 * 1": "linear 4 * 1",
    "constant factor=0.5": "constant factor=0.5",
    "linear 9 | extended to=18 at=3 by=stretching": "linear 9 | extended 18 at=3",
    "linear 9 | cooled-down shape=1-sqrt end=0 over=3 at=0": "linear 9 | cooled-down 3 at=0",
    "(linear 4 * linear 4) * linear 4": "linear 4 * linear 4 * linear 4",
    "linear 4 * (linear 4 * linear 4)": "linear 4 * (linear 4 * linear 4)",
    "adam-warmup 0.99": "warmup 200 endpoints=end",
}


def told(text: str, under: str, rule: str, at: int | None = None) -> tuple[str, str]:
    """A text and the whole message about it, the caret under the last ``under`` (or at a place)."""
    place = text.rindex(under) if at is None else at
    message = (
        f"the schedule cannot be read at character {place + 1}:\n  {text}\n  {' ' * place}{'^' * len(under)}\n{rule}"
    )
    return text, message


FAULTS = (
    told("cosin end=0.1", "cosin", f"'cosin' is not a schedule. Did you mean 'cosine'? Known: {KNOWN}"),
    told(
        "cosine warmpu=5%",
        "warmpu",
        "'cosine' has no parameter 'warmpu'. Did you mean 'warmup'? It takes steps, warmup, end, power",
    ),
    told(
        "warmup 5% linaer",
        "linaer",
        "'linaer' is neither a parameter nor a shape that 'warmup' takes. Did you mean 'linear'? "
        "It takes steps, shape, start, endpoints",
    ),
    told(
        "linear 5 epchs",
        "epchs",
        "'epchs' is neither a parameter nor a shape that 'linear' takes. Did you mean 'epochs'? "
        "It takes steps, warmup, start, end",
    ),
    told(
        "linear 5epchs",
        "5epchs",
        "steps must have one of the units %, steps, epochs, samples, tokens, not 'epchs'. "
        "Write 500, '5%', '2ep', '100k samples' or '1.5M tokens'",
    ),
    told("linear | flored 0.1", "flored", f"'flored' is not a change. Did you mean 'floored'? Known: {CHANGES}"),
    told(
        "warmup 5% constant 75%",
        "constant",
        "a comma is missing before 'constant'. Separate phases by commas",
    ),
    told(
        "cosine warmup 5%",
        "warmup",
        "'warmup' is a parameter of 'cosine' and needs its value. Write warmup=5%, or a comma before 'warmup' if it is "
        "the next phase",
    ),
    told("warmup 5%,", ",", f"a schedule is missing after ','. Known: {KNOWN}"),
    told("wsd,,wsd", ",", f"the name of a schedule must stand before ','. Known: {KNOWN}"),
    told("wsd *", "*", f"a schedule is missing after '*'. Known: {KNOWN}"),
    told("5% linear", "5%", f"the name of a schedule must stand before '5%'. Known: {KNOWN}"),
    told("(linear 5, wsd", "(", "this parenthesis is not closed. Write ) after the last phase that belongs in it"),
    told("linear 5)", ")", "no parenthesis is open here. Remove it, or open one before it"),
    told("wsd, ()", ")", f"the name of a schedule must stand before ')'. Known: {KNOWN}"),
    told("cosine(2", "(", "'(' cannot follow a schedule. Separate phases by commas"),
    told("cosine(end)", "(", "'(' cannot follow a schedule. Separate phases by commas"),
    told("cosine(0)", "cosine(0)", "shape 'cosine' needs power to be a finite number above 0"),
    told("cosine(1, 2) 5%", "cosine(1, 2)", "shape 'cosine' takes 1 parameters (power)"),
    told("wsd(3)", "wsd(3)", f"'wsd(3)' is not a schedule. Did you mean 'wsd'? Known: {KNOWN}"),
    told("linear end=0.1 end=0.2", "0.2", "end is given twice. Remove one of them"),
    told("linear 5 6", "6", "steps is given twice. Remove one of them"),
    told("linear 5.5", "5.5", "steps must be a whole number of steps. Write steps=5%"),
    told("linear 150%", "150%", "steps must be above 0% and at most 100% of the horizon. Write steps=5%"),
    told("linear 10,000", "000", f"the name of a schedule must stand before '000'. Known: {KNOWN}"),
    told("linear end=5%", "5%", "end must be a number without a unit. Write end=0.5"),
    told("linear end=", "=", "the value of end is missing. Write end=0.5"),
    told("linear =5", "=", "'=' cannot follow a schedule. Separate phases by commas"),
    told("linear end=-1", "-1", "end must be a finite number, at least 0"),
    told("linear 5 * -1", "-1", "factor must be a finite number, at least 0"),
    told(
        "linear 5 | 5%", "5 | 5%", "steps must be a duration. Write 500, '5%', '2ep', '100k samples' or '1.5M tokens'"
    ),
    told("linear 5 |", "|", f"a change must follow this bar. Known: {CHANGES}"),
    told("linear floored 0.1", "floored", "a bar is missing before 'floored'. Write | floored"),
    told("floored 0.1", "floored", "'floored' is a change, which follows a bar. Write the schedule, then | floored"),
    told("step gamma=0.3", "step", "'step' needs every. Write every=5%"),
    told("linear 5 | repeated 2.5", "2.5", "times must be a whole number. Write times=3"),
    told("linear 5 @ wsd", "@", "'@' has no meaning here. Remove it"),
    told("one-cycle three_phase=1", "1", "three_phase is a flag, which takes no value. Write three_phase"),
    told("decay endpoints=5", "5", "endpoints must be a word. Write endpoints=word"),
    told("points 0:1|0:2", "0:1|0:2", "values must have one factor at 0, not two. Remove one of them"),
    told("points 0|5:1", "0|5:1", "values must be pairs of duration and factor. Write 0:0.5"),
    told("cosine 100 warmup=200, wsd", "200", "warmup must be shorter than all 100 steps. Shorten it"),
    told("wsd, warmup 0", "warmup 0", "warmup must be at least 1 step. Leave it out instead"),
    told("linear 5 | first 9", "9", "steps must not be after the end of the schedule at step 5"),
    told("constant | repeated", "repeated", "repeated needs a schedule with an end. End it with .first(steps)"),
    told(
        "wsd, linear 5 * cosine 6",
        "linear 5 * cosine 6",
        "times needs schedules of one length. Continue the shorter one with .then(constant())",
    ),
    told(
        "constant | switched linear",
        "linear",
        "a comma is missing before 'linear'. Separate phases by commas",
    ),
)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_canonical_form_of_each_example_reads_back(entry: ScheduleEntry) -> None:
    assert parse(write(entry.example)) == entry.example


@pytest.mark.parametrize("text", MEANINGS)
def test_a_text_means_what_the_constructors_make(text: str) -> None:
    assert parse(text) == MEANINGS[text]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL.items())
def test_the_canonical_form_says_only_what_is_needed(text: str, canonical: str) -> None:
    assert write(parse(text)) == canonical
    assert write(parse(canonical)) == canonical


@settings(deadline=None)
@given(st.one_of(settled_schedules(), open_schedules(), leaves()))
def test_any_schedule_reads_back_as_itself(schedule: Schedule) -> None:
    assert parse(write(schedule)) == schedule


@settings(deadline=None)
@given(leaves(), leaves(), leaves())
def test_grouping_survives_writing(a: Schedule, b: Schedule, c: Schedule) -> None:
    for whole in (a.then(b).scaled(0.5).then(c), a.scaled(0.3).floored(0.1).then(b), a.then(b.then(c))):
        assert parse(write(whole)) == whole


WORDS = st.sampled_from([
    *SCHEDULES, "(", ")", ",", "|", "*", "=", ":", "5%", "500", "-1", "0.5", "1e999", "none", "2 epochs",
    "capped", "floored", "first", "after", "repeated", "switched", "cooled-down", "within", "at", "end", "steps",
    "three_phase",
    "\t", "\n", "é", "@", "1-sqrt", "polynomial(2)", "values", "\ud800",
])  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=200) | st.lists(WORDS, max_size=30).map(" ".join) | st.lists(WORDS, max_size=40).map("".join))
@example("(" * 5_000)
@example("linear 5" + " | repeated 2" * 5_000)
@example("constant" + " * constant" * 5_000)
@example("constant 9" + " | switched (constant 9) at=5" * 30)
@example("constant 9" + " | cooled-down 3 at=5" * 30)
@example("linear 5 | repeated " + "9" * 5_000)
@example("points " + "5%|" * 5_000)
@example("linear" + " 5 |" * 5_000)
@example("polynomial" + "(2" * 5_000)
@example("polynomial(" + "2," * 5_000)
@example("linear 1" + "0" * 5_000)
@example("a" * 20_000)
@example("points 0:1" + "|0:1" * 2_000)
def test_no_text_raises_anything_else_or_takes_long(text: str) -> None:
    began, fault = time.process_time(), None
    try:
        parse(text)
    except ScheduleSyntaxError as error:
        fault = error
    took = time.process_time() - began

    assert took < 0.05
    if fault is not None:
        assert fault.text == text
        assert 0 <= fault.position <= len(text)
        assert len(str(fault)) < 1_000


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[text for text, _ in FAULTS])
def test_a_fault_is_pointed_at_and_explained(text: str, message: str) -> None:
    with pytest.raises(ScheduleSyntaxError) as caught:
        parse(text)

    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_lists_what_there_is(text: str) -> None:
    with pytest.raises(ScheduleSyntaxError, match=r"\n  \^\nthe text is empty. Write a schedule: constant, warmup"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "shown", "caret"),
    [
        ("wsd,\t\tcosin", "wsd,  cosin", "      ^^^^^"),
        ("wsd,\n  cosin\n", "wsd,   cosin", "       ^^^^^"),
        ("wsd,\x1b 日本 5", "wsd,? 日本 5", "    ^"),
        ("wsd, 日本 5", "wsd, 日本 5", "     ^^^^"),
        ("日本", "日本", "^^^^"),
    ],
)
def test_the_caret_stands_under_the_fault_whatever_is_before_it(text: str, shown: str, caret: str) -> None:
    with pytest.raises(ScheduleSyntaxError) as caught:
        parse(text)

    assert str(caught.value).split("\n")[1:3] == [f"  {shown}", f"  {caret}"]


def test_of_a_long_text_only_the_surroundings_are_shown() -> None:
    with pytest.raises(ScheduleSyntaxError) as caught:
        parse("linear 5, " * 50 + "cosin, " + "linear 5, " * 50)

    _, shown, caret, _ = str(caught.value).split("\n")
    assert len(shown) < 110
    assert shown.index("cosin") == caret.index("^^^^^")


def test_a_rule_of_a_constructor_keeps_its_own_error_as_the_cause() -> None:
    with pytest.raises(ScheduleSyntaxError, match="must be a finite number") as caught:
        parse("linear end=-1")

    assert isinstance(caught.value.__cause__, InputError)
    assert pickle.loads(pickle.dumps(caught.value)).position == caught.value.position == 11


def test_a_function_cannot_be_written_but_its_table_can() -> None:
    halves = function(lambda step: 0.5**step, 4)

    with pytest.raises(InputError, match=r"contains a function, which has no written form.*\.tabulated\(\)"):
        write(constant(5).then(halves))
    assert parse(write(halves.tabulated())) == halves.tabulated()


@pytest.mark.parametrize("value", [None, 5, cosine()])
def test_only_a_text_can_be_read(value: object) -> None:
    with pytest.raises(InputError, match="text must be a str"):
        parse(value)  # type: ignore[arg-type]


def test_only_a_schedule_can_be_written() -> None:
    with pytest.raises(InputError, match="must be a Schedule"):
        write("cosine")  # type: ignore[arg-type]
