"""Random schedules for property tests; every one drawn is valid.

`settled_schedules` has an end and factors, `open_schedules` settles over `HORIZON` steps of `CLOCK`, and `leaves`
draws single pieces with every parameter that they have, in every unit, whether a horizon fits them or not.
"""

from __future__ import annotations

from hypothesis import strategies as st

from stepsize.schedules import Clock, Schedule, Shape, Span, constant, cooldown, decay, linear, wsd
from stepsize.schedules.leaves import (
    Exponential,
    MultiStep,
    Noam,
    OneCycle,
    Points,
    PowerLaw,
    Ramp,
    Restarts,
    Staircase,
    Triangles,
)
from stepsize.schedules.node import Leaf
from stepsize.schedules.shapes import SHAPES

HORIZON = 1_000
CLOCK = Clock(horizon=HORIZON, batch_size=4, sequence_length=8, steps_per_epoch=100.0)

ENDPOINTS = ("start", "end", "both", "neither")

factors = st.floats(0, 2) | st.sampled_from([0.0, 0.1, 1.0])
positive = st.floats(0.01, 2) | st.sampled_from([0.1, 0.5, 1.0])
gammas = st.floats(0.1, 1.1)
shares = st.integers(1, 100).map(lambda percent: Span(percent / 100, "share"))


def shapes() -> st.SearchStrategy[Shape]:
    """Every shape, with and without its parameters."""

    def filled(name: str) -> st.SearchStrategy[Shape]:
        ranges = [st.floats(-8, 8) if above < 0 else st.floats(0.1, 4) for _, _, above in SHAPES[name].parameters]
        return st.tuples(*ranges).map(lambda parameters: Shape(name, parameters)) | st.just(Shape(name))

    return st.sampled_from(sorted(SHAPES)).flatmap(filled)


def spans() -> st.SearchStrategy[Span]:
    """Durations in every other unit than steps, round ones and any."""
    share = st.floats(1e-6, 1.0).map(lambda amount: Span(amount, "share"))
    other = st.builds(Span, st.floats(1e-3, 1e12), st.sampled_from(["epochs", "samples", "tokens"]))
    return shares | share | other


def durations() -> st.SearchStrategy[int | Span]:
    return st.integers(1, 100_000) | spans()


@st.composite
def ramps(draw: st.DrawFn, steps: int | Span | None) -> Ramp:
    start, end, shape = draw(factors), draw(factors), draw(shapes())
    if shape.name == "exponential":
        start, end = max(start, 0.01), max(end, 0.01)
    endpoints = draw(st.sampled_from(ENDPOINTS if steps != 1 else ("start", "end", "neither")))
    return Ramp(start, end, shape, endpoints, steps=steps)  # type: ignore[arg-type]


@st.composite
def one_cycles(draw: st.DrawFn, steps: int | Span | None) -> OneCycle:
    three = draw(st.booleans())
    rise = draw(st.floats(0.1, 0.45 if three else 0.95))
    wide = not isinstance(steps, int) or rise * steps > 1.5  # the rise must take an update
    endpoints = draw(st.sampled_from(("start", "both"))) if wide else "start"
    start, peak, end = draw(positive), draw(positive), draw(positive)
    return OneCycle(rise, start, peak, end, draw(shapes()), three, endpoints, steps=steps)  # type: ignore[arg-type]


@st.composite
def points(draw: st.DrawFn, steps: int | Span | None, most: int) -> Points:
    at = tuple(sorted(draw(st.sets(st.integers(0, most), min_size=1, max_size=5))))
    between = draw(st.none() | shapes())
    values = tuple(draw(positive) for _ in at)
    return Points(at, values, between, steps=steps)


@st.composite
def multi_steps(draw: st.DrawFn, steps: int | Span | None, most: int) -> MultiStep:
    most = min(most, steps - 1) if isinstance(steps, int) else most
    at = tuple(sorted(draw(st.lists(st.integers(1, most), min_size=1, max_size=4))))
    return MultiStep(at, draw(gammas), steps=steps)


def _laws(
    steps: st.SearchStrategy[int | Span | None], inner: st.SearchStrategy[int | Span]
) -> st.SearchStrategy[Exponential | Noam | PowerLaw | Restarts | Staircase | Triangles]:
    """The leaves that any length fits."""
    once, growth = st.floats(0.05, 1), st.floats(1, 3) | st.just(1.0)
    return st.one_of(
        st.builds(Exponential, gammas, inner, steps=steps),
        st.builds(Staircase, inner, gammas, steps=steps),
        st.builds(PowerLaw, inner, st.floats(0.1, 3), steps=steps),
        st.builds(Noam, inner, steps=steps),
        st.builds(Triangles, inner, st.none() | inner, once, once, once, steps=steps),
        st.builds(Restarts, inner, growth, once, st.floats(0, 0.5), shapes_to_zero(), steps=steps),
    )


def shapes_to_zero() -> st.SearchStrategy[Shape]:
    """The shapes that may go to the factor 0."""
    return shapes().filter(lambda shape: shape.name != "exponential")


def _leaf(steps: int) -> st.SearchStrategy[Schedule]:
    """A settled leaf of ``steps`` steps."""
    fixed: st.SearchStrategy[int | Span | None] = st.just(steps)
    kinds: list[st.SearchStrategy[Leaf]] = [
        ramps(steps),
        ramps(steps),
        _laws(fixed, st.integers(1, 50)),
        points(steps, most=steps),
    ]
    if steps >= 2:
        kinds.append(multi_steps(steps, most=steps - 1))
        kinds.append(one_cycles(steps))
    return st.one_of(*kinds).map(Schedule)


def leaves() -> st.SearchStrategy[Schedule]:
    """Single pieces of every kind with all their parameters; durations in steps, in other units, or left out."""
    length: st.SearchStrategy[int | Span | None] = st.none() | st.integers(10, 100_000) | spans()
    spaced_points = st.builds(
        lambda steps, at, values, between: Points(tuple(at), tuple(values[: len(at)]), between, steps=steps),
        length,
        st.lists(spans(), min_size=1, max_size=4, unique=True),
        st.lists(factors, min_size=4, max_size=4),
        st.none() | shapes(),
    )
    spaced_drops = st.builds(MultiStep, st.lists(spans(), min_size=1, max_size=4).map(tuple), gammas, steps=length)
    kinds = (
        length.flatmap(ramps),
        length.flatmap(one_cycles),
        length.flatmap(lambda steps: points(steps, most=100_000)),
        length.flatmap(lambda steps: multi_steps(steps, most=100_000)),
        spaced_points,
        spaced_drops,
        _laws(length, durations()),
    )
    return st.one_of(*kinds).map(Schedule)


# ------------------------------------------------------------------ settled


@st.composite
def settled_schedules(draw: st.DrawFn, max_length: int = 200) -> Schedule:
    """Pieces and everything that the algebra makes of them, with an end after 1 to ``max_length`` steps."""
    return draw(_tree(draw(st.integers(1, max_length)), draw(st.integers(0, 3)), max_length))


def _tree(length: int, depth: int, most: int) -> st.SearchStrategy[Schedule]:
    """A settled schedule of ``length`` steps with at most ``depth`` nodes above a leaf."""
    if depth == 0:
        return _leaf(length)
    ways = [_around, _repeated, _first, _after, _cooled_down, _extended, _switched]
    ways += [_then, _then] if length >= 2 else []
    return st.one_of(_leaf(length), *(way(length, depth - 1, most) for way in ways))


@st.composite
def _then(draw: st.DrawFn, length: int, depth: int, most: int) -> Schedule:
    at = draw(st.integers(1, length - 1))
    return draw(_tree(at, depth, most)).then(draw(_tree(length - at, depth, most)))


@st.composite
def _around(draw: st.DrawFn, length: int, depth: int, most: int) -> Schedule:
    inner, verb = (
        draw(_tree(length, depth, most)),
        draw(st.sampled_from(["scaled", "floored", "capped", "times", "endless"])),
    )
    if verb == "scaled":
        return inner.scaled(draw(positive))
    if verb == "floored":
        return inner.floored(draw(factors))
    if verb == "capped":
        return inner.capped(draw(positive))
    if verb == "endless":  # one of two factors may have no end
        return inner.times(constant(factor=draw(factors)))
    return inner.times(draw(_tree(length, depth, most)))


@st.composite
def _repeated(draw: st.DrawFn, length: int, depth: int, most: int) -> Schedule:
    times = draw(st.sampled_from([times for times in (1, 2, 3, 4, 5) if length % times == 0]))
    again = draw(_tree(length // times, depth, most))
    per_cycle = draw(st.just(1.0) | st.floats(0.3, 1.2))
    endless = draw(st.booleans())
    return again.repeated(per_cycle=per_cycle).first(length) if endless else again.repeated(times, per_cycle=per_cycle)


@st.composite
def _first(draw: st.DrawFn, length: int, depth: int, most: int) -> Schedule:
    return draw(_tree(draw(st.integers(length, max(most, length))), depth, most)).first(length)


@st.composite
def _after(draw: st.DrawFn, length: int, depth: int, most: int) -> Schedule:
    begin = draw(st.integers(1, max(1, most)))
    return draw(_tree(length + begin, depth, most)).after(begin)


@st.composite
def _cooled_down(draw: st.DrawFn, length: int, depth: int, most: int) -> Schedule:
    over = draw(st.integers(1, length))
    inner = draw(_tree(draw(st.integers(max(1, length - over), max(most, length))), depth, most))
    shape = draw(shapes_to_zero())
    return inner.cooled_down(at=length - over, over=over, shape=shape, end=draw(factors))


@st.composite
def _extended(draw: st.DrawFn, length: int, depth: int, most: int) -> Schedule:
    if draw(st.booleans()):
        before = draw(st.integers(1, length))
        at = draw(st.integers(0, before - 1))
        return draw(_tree(before, depth, most)).extended(to=length, at=at, by="holding")
    before = draw(st.integers(1, most))
    at = draw(st.integers(0, min(before, length) - 1))
    return draw(_tree(before, depth, most)).extended(to=length, at=at)


@st.composite
def _switched(draw: st.DrawFn, length: int, depth: int, most: int) -> Schedule:
    at = draw(st.integers(0, length))
    inner = draw(_tree(draw(st.integers(max(1, at), max(most, length))), depth, most))
    other = draw(_tree(length, depth, most))
    return inner.floored(0.01).switched(other.floored(0.01), at=at)  # neither may be at 0 there


# --------------------------------------------------------------------- open


@st.composite
def open_schedules(draw: st.DrawFn) -> Schedule:
    """Schedules with open durations, all of which ``.over(HORIZON, CLOCK)`` settles."""
    before = [draw(_of_a_share(draw(st.integers(2, 10)))) for _ in range(draw(st.integers(0, 3)))]
    behind = [draw(_of_a_share(draw(st.integers(2, 10)))) for _ in range(draw(st.integers(0, 2)))]
    parts = [*before, draw(_of_the_rest()), *behind]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.then(part)
    return whole


def _some(least: int = 1, most: int = 10) -> st.SearchStrategy[Span]:
    """From ``least`` to ``most`` percent of `HORIZON`, in any unit."""
    return st.builds(
        lambda percent, unit: {
            "share": Span(percent / 100, "share"),
            "epochs": Span(percent / 100 * HORIZON / 100, "epochs"),
            "samples": Span(percent / 100 * HORIZON * 4, "samples"),
            "tokens": Span(percent / 100 * HORIZON * 32, "tokens"),
        }[unit],
        st.integers(least, most),
        st.sampled_from(["share", "epochs", "samples", "tokens"]),
    )


def _of_the_rest() -> st.SearchStrategy[Schedule]:
    """What takes the rest of the horizon, which is at least half of it."""
    leaf = st.one_of(ramps(None), one_cycles(None), _laws(st.none(), _some())).map(Schedule)
    plain = ramps(None).map(Schedule).filter(lambda schedule: not schedule.resolved)  # a constant never ends
    alive = leaf.map(lambda schedule: schedule.floored(0.01))
    return st.one_of(
        leaf,
        st.builds(Schedule.scaled, leaf, positive),
        st.builds(Schedule.floored, leaf, factors),
        st.builds(Schedule.capped, leaf, positive),
        st.builds(Schedule.times, leaf, leaf),
        st.builds(lambda schedule, by: constant(by, factor=0.5).then(schedule), leaf, _some()),
        st.builds(lambda schedule, times: schedule.repeated(times), plain, st.integers(2, 4)),
        st.builds(lambda schedule, over: schedule.cooled_down(over=over), leaf, _some()),
        st.builds(lambda one, other, at: one.switched(other, at=at), alive, alive, _some(1, 20)),
        st.builds(lambda over: constant().then(cooldown(over)), _some()),
        st.builds(lambda span, end: decay(warmup=span, shape="cosine", end=end), _some(), factors),
        st.builds(lambda span, over: wsd(warmup=span, cooldown=over), _some(), _some()),
    )


def _of_a_share(percent: int) -> st.SearchStrategy[Schedule]:
    """What takes some percent of the horizon, not more than twice ``percent`` of them."""
    own = Span(percent / 100, "share")
    leaf = st.one_of(ramps(own), one_cycles(own), _laws(st.just(own), _some())).map(Schedule)
    return st.one_of(
        leaf,
        st.builds(Schedule.scaled, leaf, positive),
        st.builds(Schedule.floored, leaf, factors),
        st.builds(Schedule.capped, leaf, positive),
        st.builds(lambda schedule: schedule.then(linear(own)), leaf),
        st.builds(lambda schedule, times: schedule.repeated(times), leaf, st.just(2)),
        st.builds(lambda schedule: schedule.extended(to=own), leaf),
        st.builds(lambda schedule: schedule.first(own), leaf),
        st.builds(lambda schedule: schedule.then(schedule).after(own), leaf),
        st.builds(lambda schedule: schedule.cooled_down(at=own, over=own), leaf),
        st.builds(lambda schedule: schedule.extended(to=Span(percent / 50, "share"), at="1%"), leaf),
        st.just(decay(own, warmup="1%")),
        st.just(wsd(own, warmup="1%", cooldown="0.5%")),
    )
