"""From a profile to what its chart shows."""

from __future__ import annotations

from stepsize.probe.profiling.noise import growth
from stepsize.probe.profiling.result import Profile
from stepsize.views import Chart, GrowthCurve, profile_chart, profile_info

_SIZES = 2.0  # decades of batch sizes, on both sides of the present one
_POINTS = 41


def drawn(profile: Profile, title: str) -> Chart:
    """Return the chart of ``profile``: the growth of the rate with the batch size, the movement of layers."""
    facts = profile.facts
    batch, exponent = facts.batch_size, facts.exponent if facts.exponent is not None else 1.0
    decades = [_SIZES * (2 * point / (_POINTS - 1) - 1) for point in range(_POINTS)]
    sizes = [max(1.0, batch * 10**decade) for decade in decades]
    curves = []
    for moment in facts.moments:
        if moment.noise is None:
            continue
        name = "at the start" if moment.step == 0 else f"after {moment.step} steps"
        factors = [growth(moment.noise.examples, batch, size, exponent=exponent) for size in sizes]
        curves.append(GrowthCurve(name, moment.noise.examples, tuple(sizes), tuple(factors)))
    scale = facts.steady[0] if facts.steady else None
    info = profile_info(
        curves,
        batch,
        [(str(layer), layer.ratio * (scale or 1.0)) for layer in facts.layers if layer.ratio is not None],
        layers_at="the critical rate" if scale is not None else "rate 1",
        title=title,
        subtitle=profile.status,
    )
    return profile_chart(info)
