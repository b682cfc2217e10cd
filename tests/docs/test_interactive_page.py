"""The interactive page computes what torch and theory say, stands alone, and can be used by hand, keyboard and ear."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from docs.guide.interactive.make import DARK, LIGHT, PAGE, RUNS, page
from docs.guide.interactive.runs import FAMILIES, MARKS, RATES, STEPS, TASK, told
from tests.docs.chromium import Tab, chromium, opened

from stepsize.tasks import build_task
from stepsize.training import InOrder

_MOST_BYTES = 1_500_000
_TILT = math.radians(25)
_FLAT, _STEEP = 0.25, 10.0
_OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], str | None, dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, None, {}),
    "momentum": (torch.optim.SGD, "momentum", {}),
    "nesterov": (torch.optim.SGD, "momentum", {"nesterov": True}),
    "adagrad": (torch.optim.Adagrad, None, {}),
    "rmsprop": (torch.optim.RMSprop, "momentum", {}),
    "adam": (torch.optim.Adam, "betas", {}),
}
_OF_THEORY = ("sgd", "momentum", "nesterov")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A tab with the page open, at the width of a desk."""
    if chromium() is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with opened(tmp_path_factory.mktemp("chromium")) as tab:
        show(tab)
        yield tab


def show(tab: Tab, setting: str = "", width: int = 1280, **features: str) -> None:
    """Open the page at a setting, without the animation at its start unless that is asked for."""
    media = {name.replace("_", "-"): value for name, value in features.items()}
    tab.open(f"{PAGE.as_uri()}#{setting or 'still'}", width=width, features=media)


def path(tab: Tab, **setting: Any) -> dict[str, Any]:
    found: dict[str, Any] = tab.ask(f"window.lab.path({json.dumps(setting)})")
    return found


# ---------------------------------------------------------------- the file


def test_the_committed_page_is_what_the_generator_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python docs/guide/interactive/make.py"


def test_the_page_is_small_and_needs_nothing_beside_itself() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert len(text.encode()) < _MOST_BYTES
    assert re.findall(r"https?://|//\w+\.\w+/|@import|url\(|\bsrc=|fetch\(|XMLHttpRequest|import\(", text) == []


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_all_texts_stand_out_from_what_they_stand_on(colours: dict[str, str]) -> None:
    texts = [name for name in colours if name.endswith("-text") or name in ("ink", "soft", "muted")]

    low = [(text, on) for text in texts for on in ("paper", "raised") if _contrast(colours[text], colours[on]) < 4.5]

    assert len(texts) > 6
    assert low == []


def test_stored_runs_are_those_of_the_families() -> None:
    stored = json.loads(RUNS.read_text(encoding="utf-8"))

    assert [(one["optimizer"], one["momentum"]) for one in stored["families"]] == [
        (family.optimizer, family.momentum) for family in FAMILIES
    ]
    for one, family in zip(stored["families"], FAMILIES, strict=True):
        assert one["rates"] == [setting.lr for setting in family.settings()]
        assert len(one["runs"]) == RATES
        assert {len(run["unseen"]) for run in one["runs"] if run["lost"] is None} == {len(MARKS)}
        assert any(run["lost"] is None and run["unseen"][-1] < 0.2 for run in one["runs"])


def test_a_stored_run_is_what_training_it_again_gives() -> None:
    stored, family = json.loads(RUNS.read_text(encoding="utf-8"))["families"][0], FAMILIES[0]
    place = 9
    task = build_task(TASK, optimizer=family.optimizer, steps=STEPS, device="cpu")

    [run] = InOrder(MARKS)(task, [family.settings()[place]])

    again = told(run)
    assert again["unseen"] == pytest.approx(stored["runs"][place]["unseen"], rel=0.02)
    assert again["train"] == pytest.approx(stored["runs"][place]["train"], rel=0.02)


# ---------------------------------------------------------------- what it computes


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [
        (name, momentum)
        for name, (_, word, _) in _OPTIMIZERS.items()
        for momentum in ((0.0,) if word is None else (0.3, 0.9) if name == "nesterov" else (0.0, 0.3, 0.9))
    ],
)
@pytest.mark.parametrize("lr", [0.01, 0.1])  # below all bounds: growth would magnify rounding
def test_paths_are_those_of_torch(tab: Tab, optimizer: str, momentum: float, lr: float) -> None:
    start = tab.ask("window.lab.surfaces.valley.start")

    found = path(tab, surface="valley", optimizer=optimizer, lr=lr, momentum=momentum, steps=50)

    points, losses = _torch_path(optimizer, lr, momentum, start)
    np.testing.assert_allclose(found["points"], points, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["losses"], losses, rtol=0, atol=1e-9)


@pytest.mark.parametrize("surface", ["valley", "bend", "basins", "saddle"])
def test_gradients_and_curvatures_are_those_of_the_loss(tab: Tab, surface: str) -> None:
    for x, y in [(-1.3, 0.4), (0.2, -0.7), (1.1, 1.2)]:
        here = f"window.lab.surfaces.{surface}"
        gradient, hessian = tab.ask(f"{here}.gradient({x},{y})"), tab.ask(f"{here}.hessian({x},{y})")
        h = 1e-4

        def loss(dx: float, dy: float, where: str = here, x: float = x, y: float = y) -> float:
            return float(tab.ask(f"{where}.loss({x + dx},{y + dy})"))

        slopes = [(loss(h, 0) - loss(-h, 0)) / (2 * h), (loss(0, h) - loss(0, -h)) / (2 * h)]
        middle = loss(0, 0)
        xx, yy = ((loss(a, b) - 2 * middle + loss(-a, -b)) / h**2 for a, b in ((h, 0), (0, h)))
        xy = (loss(h, h) - loss(h, -h) - loss(-h, h) + loss(-h, -h)) / (4 * h**2)
        assert gradient == pytest.approx(slopes, rel=1e-5, abs=1e-6)
        assert hessian == pytest.approx([xx, xy, yy], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("surface", ["valley", "bend", "basins", "saddle"])
def test_marked_minima_are_minima(tab: Tab, surface: str) -> None:
    here = f"window.lab.surfaces.{surface}"

    assert np.abs(tab.ask(f"{here}.minima.map((point) => {here}.gradient(...point))")).max() < 1e-9
    assert min(tab.ask(f"{here}.minima.map((point) => {here}.loss(...point))")) == pytest.approx(
        tab.ask(f"{here}.least")
    )


@pytest.mark.parametrize("optimizer", _OF_THEORY)
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 0.99])
def test_contraction_is_the_spectral_radius_of_the_update_and_one_at_the_bound(
    tab: Tab, optimizer: str, momentum: float
) -> None:
    beta = 0.0 if optimizer == "sgd" else momentum
    limit = tab.ask(f"window.lab.bound('{optimizer}', {_STEEP}, {beta})")
    for lr in (0.001, 0.03, limit, 1.5 * limit):
        for curvature in (_FLAT, _STEEP):
            left = tab.ask(f"window.lab.contraction('{optimizer}', {lr}, {beta}, {curvature})")
            assert left == pytest.approx(_spectral_radius(optimizer, lr, beta, curvature), rel=1e-6)
    assert tab.ask(f"window.lab.contraction('{optimizer}', {limit}, {beta}, {_STEEP})") == pytest.approx(1.0)


@pytest.mark.parametrize("optimizer", _OF_THEORY)
def test_paths_end_below_the_bound_and_are_lost_above(tab: Tab, optimizer: str) -> None:
    limit = tab.ask(f"window.lab.bound('{optimizer}', {_STEEP}, 0.5)")
    setting = {"surface": "valley", "optimizer": optimizer, "momentum": 0.5, "steps": 3_000}

    below, above = (path(tab, lr=share * limit, **setting) for share in (0.99, 1.01))

    assert below["lost"] is None
    assert below["losses"][-1] < 1e-6
    assert above["lost"] is not None


def test_the_fastest_rate_of_sgd_is_that_of_theory(tab: Tab) -> None:
    found = tab.ask(f"window.lab.fastest('sgd', 0, [{_FLAT}, {_STEEP}])")

    assert found["lr"] == pytest.approx(2 / (_FLAT + _STEEP), rel=1e-3)
    assert found["left"] == pytest.approx((_STEEP - _FLAT) / (_STEEP + _FLAT), rel=1e-3)


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", 0.0), ("momentum", 0.9)])
def test_noise_holds_a_path_where_theory_says(tab: Tab, optimizer: str, momentum: float) -> None:
    setting = {"surface": "valley", "optimizer": optimizer, "lr": 0.05, "momentum": momentum, "noise": 0.7}
    floor = tab.ask(f"window.lab.noiseFloor('{optimizer}', 0.05, {momentum}, [{_FLAT}, {_STEEP}], 0.7)")

    losses = path(tab, **setting, steps=60_000, seed=3)["losses"][1_000:]

    assert np.mean(losses) == pytest.approx(floor, rel=0.1)


def test_noise_is_that_of_its_seed(tab: Tab) -> None:
    setting = {"surface": "saddle", "optimizer": "adam", "lr": 0.05, "momentum": 0.9, "noise": 0.5}

    first, again, other = (path(tab, **setting, seed=seed)["losses"] for seed in (1, 1, 2))

    assert first == again != other


@pytest.mark.parametrize(
    ("setting", "kind", "reason"),
    [
        ("surface=valley&optimizer=sgd&lr=0.25", "Diverges", "is above 2/L = 0.2"),
        ("surface=valley&optimizer=sgd&lr=0.198", "Oscillates", "lands on the other side"),
        ("surface=valley&optimizer=sgd&lr=0.15", "Good", "less than 1% of the descent is left"),
        ("surface=valley&optimizer=sgd&lr=0.004", "Slow", "every step leaves 0.999 of the distance"),
        ("surface=valley&optimizer=momentum&lr=0.1&momentum=0.9", "Oscillates", "carries it past the minimum"),
        ("surface=valley&optimizer=adam&lr=0.004", "Slow", "The minimum is 2.1 away"),
        ("surface=basins&optimizer=sgd&lr=0.3", "Good", "It ends in the wide minimum"),
        ("surface=basins&optimizer=sgd&lr=0.02", "Good", "It ends in the sharp minimum"),
        ("surface=valley&optimizer=sgd&lr=0.05&noise=5", "Oscillates", "The noise keeps the loss at"),
        ("surface=bend&optimizer=sgd&lr=1", "Diverges", "The path meets curvatures up to λ = 110"),
        ("surface=valley&optimizer=adagrad&lr=0.03", "Slow", "100 steps add up to 0.6 in each parameter"),
        ("surface=bend&optimizer=rmsprop&lr=2&momentum=0.9", "Diverges", "That is too far for this surface"),
    ],
)
def test_the_verdict_names_what_happens_and_why(tab: Tab, setting: str, kind: str, reason: str) -> None:
    show(tab, f"{setting}&still")

    assert tab.ask("document.getElementById('verdict').textContent") == kind
    assert reason in tab.ask("document.getElementById('reason').textContent")


# ---------------------------------------------------------------- how it is used


def test_moving_each_slider_changes_the_picture_and_the_words(tab: Tab) -> None:
    show(tab, "surface=saddle&optimizer=momentum&lr=0.02&still")
    for slider, drawn in (
        ("lr", "#trail .over, #fall .line, #lr-out"),
        ("momentum", "#trail .over, #fall .line, #strip rect, #momentum-out"),
        ("noise", "#trail .over, #fall .line, #noise-out"),
        ("step", "#step-out"),
        ("trained-lr", "#curves .unseen, #curves .family, #valley .now, #trained-lr-out, #trained-reason"),
    ):
        before = _markup(tab, drawn)
        tab.ask(f"document.getElementById('{slider}').focus()")
        for _ in range(4):
            tab.press("ArrowLeft" if slider == "step" else "ArrowRight", 37 if slider == "step" else 39)
        after = _markup(tab, drawn)
        assert all(one != other for one, other in zip(before, after, strict=True)), slider


def test_every_optimizer_and_surface_can_be_chosen(tab: Tab) -> None:
    show(tab)
    seen = set()
    for place in ("surfaces", "optimizers", "trained", "momenta"):
        for k in range(tab.ask(f"document.querySelectorAll('#{place} input').length")):
            tab.ask(f"document.querySelectorAll('#{place} input')[{k}].click()")
            seen.add((place, *_markup(tab, "#trail .over, #curves .unseen, #valley .unseen")))
    assert len(seen) == 4 + 6 + 6 + 4
    assert tab.complaints() == []


def test_a_setting_can_be_linked_to(tab: Tab) -> None:
    show(tab, "surface=bend&optimizer=adam&lr=0.0321&momentum=0.8&noise=2&trained=adam&beta=0.5&place=7&still")

    words = dict(pair.split("=") for pair in tab.ask("location.hash")[1:].split("&"))

    assert words["surface"] == "bend"
    assert words["optimizer"] == "adam"
    assert float(words["lr"]) == pytest.approx(0.0321)
    assert float(words["momentum"]) == pytest.approx(0.8)
    assert words["place"] == "7"
    assert tab.ask("document.getElementById('trained-lr').value") == "7"


@pytest.mark.parametrize("words", ["surface=moon&optimizer=lion&lr=-3&momentum=2&noise=x", "lr=NaN&place=99&trained=x"])
def test_a_link_that_makes_no_sense_opens_the_page_as_it_begins(tab: Tab, words: str) -> None:
    show(tab, f"{words}&still")

    assert tab.ask("document.getElementById('lr-out').textContent") == "0.18"
    assert tab.complaints() == []


def test_diverged_trainings_are_shown_as_such(tab: Tab) -> None:
    show(tab, "trained=sgd&place=24&still")

    assert "Diverged at step" in tab.ask("document.getElementById('trained-verdict').textContent")
    assert tab.ask("document.querySelector('#curves .lost').getAttribute('d')") != ""
    show(tab, "trained=sgd&place=3&still")
    assert tab.ask("document.getElementById('trained-verdict').textContent") == "Too low"
    assert tab.ask("document.querySelector('#curves .lost').getAttribute('d')") == ""


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", None), ("adagrad", None), ("adam", 0.9)])
def test_the_curve_of_final_losses_is_that_of_the_stored_runs(tab: Tab, optimizer: str, momentum: float | None) -> None:
    families = json.loads(RUNS.read_text(encoding="utf-8"))["families"]
    [family] = [one for one in families if (one["optimizer"], one["momentum"]) == (optimizer, momentum)]
    finals = [run["unseen"][-1] if run["lost"] is None else math.inf for run in family["runs"]]
    best, lost = int(np.argmin(finals)), sum(map(math.isinf, finals))
    show(tab, f"trained={optimizer}&beta={momentum}&place={best}&still")

    text = tab.ask("document.getElementById('valley-title').textContent")

    numbers = [float(number) for number in re.findall(r"[\d.]*\d", text)]
    assert numbers == pytest.approx([finals[best], family["rates"][best], lost, RATES], rel=0.05)
    assert tab.ask("document.getElementById('trained-verdict').textContent") == "The best of these rates"


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(tab: Tab, width: int, scheme: str) -> None:
    show(tab, "optimizer=nesterov&surface=valley&still", width, prefers_color_scheme=scheme)

    assert tab.ask("document.documentElement.scrollWidth") <= width
    beyond = "(e) => !e.closest('.sheet') && e.getBoundingClientRect().right > innerWidth + 1"
    everything = "[...document.querySelectorAll('main *')]"
    assert tab.ask(f"{everything}.filter({beyond}).map((e) => e.outerHTML.slice(0, 80))") == []
    assert tab.complaints() == []


def test_colours_follow_the_reader(tab: Tab) -> None:
    look = "getComputedStyle(document.body).backgroundColor"
    map_ = "new Promise((done) => requestAnimationFrame(() => done(document.getElementById('relief').toDataURL())))"
    show(tab, "still", prefers_color_scheme="light")
    light = tab.ask(look), tab.ask(map_)

    tab.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    assert tab.ask(look) != light[0]
    assert tab.ask(map_) != light[1]  # drawn anew without being opened anew


def test_the_path_is_played_unless_less_motion_is_asked_for(tab: Tab) -> None:
    step = "Number(document.getElementById('step').value)"
    show(tab, "surface=valley", prefers_reduced_motion="reduce")
    assert tab.ask(step) == 100
    show(tab, "surface=valley", prefers_reduced_motion="no-preference")
    assert tab.ask(step) < 100
    end = time.monotonic() + 30
    while tab.ask(step) < 100:
        assert time.monotonic() < end, "the path is not played to its end"
        time.sleep(0.2)


def test_every_control_has_a_name_and_every_chart_says_what_it_shows(tab: Tab) -> None:
    show(tab)
    tab.tell("Accessibility.enable")
    nodes = tab.tell("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    tab.tell("Accessibility.disable")

    assert len(named["slider"]) == 5
    assert len(named["radio"]) == 4 + 6 + 6 + 4
    assert len(named["image"]) == 4
    for role in ("slider", "radio", "button", "image"):
        assert all(named[role]), role


def test_nothing_is_fetched_and_nothing_is_complained_of(tab: Tab) -> None:
    show(tab)

    assert tab.complaints() == []
    assert {address.partition(":")[0] for address in tab.requests()} <= {"file", "data", "about"}


# ---------------------------------------------------------------- twins


def _torch_path(optimizer: str, lr: float, momentum: float, start: list[float]) -> tuple[np.ndarray, list[float]]:
    kind, word, others = _OPTIMIZERS[optimizer]
    own: dict[str, Any] = dict(others)
    if word == "betas":
        own["betas"] = (momentum, 0.999)
    elif word is not None:
        own[word] = momentum
    turn = torch.tensor([[math.cos(_TILT), -math.sin(_TILT)], [math.sin(_TILT), math.cos(_TILT)]], dtype=torch.float64)
    curvature = turn @ torch.diag(torch.tensor([_FLAT, _STEEP], dtype=torch.float64)) @ turn.T
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    made = kind([point], lr=lr, **own)  # type: ignore[call-arg]  # each class has its own arguments
    points, losses = [], []
    for _ in range(51):
        made.zero_grad()
        loss = 0.5 * point @ curvature @ point
        points.append(point.detach().clone().numpy())
        losses.append(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        made.step()
    return np.array(points), losses


def _spectral_radius(optimizer: str, lr: float, beta: float, curvature: float) -> float:
    """Of the matrix that takes (distance, velocity) from step to step."""
    ahead = beta if optimizer == "nesterov" else 0.0
    velocity = np.array([curvature, beta])  # what it becomes, of distance and velocity
    gradient = np.array([curvature, 0.0])
    direction = gradient + ahead * velocity if optimizer == "nesterov" else velocity
    update = np.array([np.array([1.0, 0.0]) - lr * direction, velocity])
    return float(np.abs(np.linalg.eigvals(update)).max())


def _markup(tab: Tab, selector: str) -> list[str]:
    """Return the markup of all elements that each part of a selector finds."""
    parts = selector.split(", ")
    found = [tab.ask(f"[...document.querySelectorAll('{part}')].map((e) => e.outerHTML).join('')") for part in parts]
    assert all(found)
    return found


def _contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
