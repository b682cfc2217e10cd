"use strict";
// Everything that came from the server is written as text or as data of a chart, never as markup.
const $ = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const state = { list: { runs: [], studies: [] }, shown: [], study: "", details: {}, points: {}, axes: [], panels: [], readOnly: true, zoom: null, smoothing: 0, known: false };
const LEAST = 430, GAP = 16, FRAME = 18; // pixels: a column of charts, between columns, and the frame of a chart
const MOST = 700, MOST_ROWS = 6_000; // points of a line, and of all lines of a chart
const MOST_NAMED = 2_000; // points of a chart that say what they are, which costs as much as six others
const UNSEEN = 4000; // milliseconds between two drawings of a chart that is not on the screen
const EMBED = { actions: false, ast: true, defaultStyle: false, tooltip: tip, renderer: "canvas", logLevel: 1 };
let source = null, loading = 0, drawing = false, rest = 0, studied = "", studyView = null;

function make(tag, content = [], attributes = {}) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...[content].flat());
  return made;
}
const say = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };
const number = (value, digits = 4) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const text = Number(value.toPrecision(digits));
  return text !== 0 && (Math.abs(text) < 1e-3 || Math.abs(text) >= 1e5) ? text.toExponential().replace("+", "") : String(text);
};
const count = (value) => value.toLocaleString("en-US");
const last = (run, signal) => { const found = state.points[run]?.[signal]; return found?.[1].length ? found[1][found[1].length - 1] : null; };
const lastStep = (run) => Math.max(0, ...Object.values(state.points[run] ?? {}).map(([steps]) => steps[steps.length - 1] ?? 0));
const query = (extra) => { const all = new URLSearchParams(extra); for (const name of state.shown) all.append("run", name); return all; };

// ---------------------------------------------------------------- what is shown

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  state.study = wanted.get("study") ?? "";
  state.shown = state.study ? [] : wanted.getAll("run");
  Object.assign(state, { details: {}, points: {}, axes: [], zoom: null });
  dropCharts();
  $("span").value = "1";
  studied = "";
  connect();
}
function show(shown, study = "") {
  const wanted = new URLSearchParams(study ? { study } : shown.map((name) => ["run", name]));
  if (`#${wanted}` !== location.hash) location.hash = String(wanted);
}

function connect() {
  source?.close();
  const mine = (source = new EventSource(`/api/events?${query({})}`));
  mine.onopen = () => { say("link", "live"); $("link").className = "live"; };
  mine.onerror = () => {
    say("link", "disconnected: trying again");
    $("link").className = "lost";
    if (mine.readyState === 2) setTimeout(() => { if (mine === source) connect(); }, 2000);
  };
  mine.onmessage = (event) => take(JSON.parse(event.data));
}

function take(news) {
  if (news.page) {
    state.readOnly = news.page.readOnly;
    say("store", news.page.store);
    $("mode").hidden = !state.readOnly;
    state.shown = state.shown.filter((name) => news.page.shown.includes(name));
  }
  if (news.trouble !== undefined) { say("trouble", news.trouble); $("trouble").hidden = !news.trouble; }
  if (news.list) state.list = news.list;
  for (const [run, { replaces, signals }] of Object.entries(news.points ?? {})) {
    const known = replaces ? (state.points[run] = {}) : (state.points[run] ??= {});
    for (const [name, [steps, values]] of Object.entries(signals)) {
      const [before, past] = (known[name] ??= [[], []]);
      const late = before.length && steps[0] < before[before.length - 1];
      for (let i = 0; i < steps.length; i++) { before.push(steps[i]); past.push(values[i]); }
      if (late) {
        const order = before.map((_, i) => i).sort((a, b) => before[a] - before[b]);
        known[name] = [order.map((i) => before[i]), order.map((i) => past[i])];
      }
    }
  }
  Object.assign(state.details, news.runs ?? {});
  if (news.panels) state.axes = news.panels;
  if (news.list && !state.known) {
    state.known = true;
    const first = state.list.runs[0], search = state.list.studies[0];
    if (!state.shown.length && !state.study) {
      if (first && !(search?.status === "running" && first.status !== "running")) show([first.name]);
      else if (search) show([], search.name);
    }
  }
  if (drawing) return;
  drawing = true;
  // A slow machine draws less often: half of the time is left for everything else.
  setTimeout(async () => {
    const begun = performance.now();
    try { await draw(); } finally {
      rest = performance.now() - begun;
      drawing = false;
    }
  }, rest);
}

async function draw() {
  drawList();
  const any = state.shown.length > 0;
  $("nothing").hidden = state.list.runs.length + state.list.studies.length > 0;
  $("run-part").hidden = !any;
  $("study-part").hidden = !state.study;
  if (state.study) drawStudy();
  if (any) { drawRuns(); await drawCharts(); }
}

// ---------------------------------------------------------------- the list

function swatch(series) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({ width: 26, height: 8, class: "swatch", "aria-hidden": "true" })) svg.setAttribute(name, value);
  for (const [name, value] of Object.entries({ x1: 0, x2: 26, y1: 4, y2: 4, stroke: series.color, "stroke-width": 2.5, "stroke-dasharray": series.dash.join(" ") })) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}
const lookOf = (run) => state.shown.length > 1 ? state.panels.flatMap((panel) => panel.series).find((one) => one.run === run) : null;
const stepsOf = (run) => run.planned ? `${count(run.steps)} of ${count(run.planned)} steps` : `${count(run.steps)} steps`;

function entry(parts, small, pressed, onclick, box) {
  const button = make("button", [make("b", parts), make("small", small)], { type: "button", "aria-pressed": String(pressed) });
  button.onclick = onclick;
  return make("li", box ? [box, button] : [button]);
}

function drawList() {
  const filter = $("filter").value.toLowerCase();
  const wanted = (one) => one.name.toLowerCase().includes(filter);
  const held = document.activeElement?.closest?.("nav li") ? [document.activeElement.closest("li").dataset.name, document.activeElement.tagName] : null;
  const runs = state.list.runs.filter(wanted).map((run) => {
    const box = make("input", [], { type: "checkbox", "aria-label": `Show ${run.name} on top of the others` });
    box.checked = state.shown.includes(run.name);
    box.onchange = () => show(box.checked ? [...state.shown, run.name] : state.shown.filter((name) => name !== run.name));
    const look = lookOf(run.name);
    const item = entry([...(look ? [swatch(look)] : []), run.name], `${run.status} · ${stepsOf(run)} · rate ${run.verdict}`, box.checked, () => show([run.name]), box);
    item.dataset.name = run.name;
    return item;
  });
  const studies = state.list.studies.filter(wanted).map((one) => {
    const item = entry([one.name], `${one.kind} · ${one.status} · ${count(one.runs)} runs, cost ${number(one.cost, 3)} full runs`, one.name === state.study, () => show([], one.name));
    item.dataset.name = one.name;
    return item;
  });
  $("runs").replaceChildren(...runs);
  $("studies").replaceChildren(...studies);
  for (const name of ["runs", "studies"]) $(`${name}-title`).hidden = !state.list[name].length;
  if (held) [...document.querySelectorAll("nav li")].find((item) => item.dataset.name === held[0])?.querySelector(held[1].toLowerCase())?.focus();
}

// ---------------------------------------------------------------- runs

const ratesOf = (run) => Object.keys(state.points[run.name] ?? {}).filter((name) => name.startsWith("lr/"));
const duration = (seconds) => seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${number(seconds / 3600, 2)} h`;

function drawRuns() {
  const runs = state.shown.map((name) => state.details[name]).filter(Boolean);
  const one = runs.length === 1 && state.shown.length === 1 ? runs[0] : null;
  for (const id of ["judged", "findings-part", "run-facts"]) $(id).hidden = !one;
  for (const id of ["run-progress", "journal-part", "controls"]) $(id).hidden = true;
  $("compared").hidden = Boolean(one);
  if (one) return drawRun(one);
  say("run-name", `${state.shown.length} runs`);
  const rows = runs.map((run) => {
    const look = lookOf(run.name);
    const cells = [run.status, stepsOf(run), number(last(run.name, "loss")), number(last(run.name, "val_loss")), number(last(run.name, "lr/0")), run.verdict.code];
    return make("tr", [make("td", [...(look ? [swatch(look)] : []), run.name]), ...cells.map((text) => make("td", text))]);
  });
  $("compared").tBodies[0].replaceChildren(...rows);
}

function drawRun(run) {
  say("run-name", run.name);
  const took = run.updated ? (Date.parse(run.updated) - Date.parse(run.begun)) / 1000 : 0;
  const left = run.planned && run.steps && run.status === "running" && run.steps < run.planned ? `, about ${duration(took * (run.planned / run.steps - 1))} left` : "";
  say("run-facts", `${run.status} · ${stepsOf(run)}${left} · loss ${number(last(run.name, "loss"))} · ${run.what}, ${run.optimizer}`);
  $("run-progress").hidden = !run.planned || run.status !== "running";
  $("run-progress").value = run.planned ? Math.min(1, run.steps / run.planned) : 0;
  $("run-progress").setAttribute("aria-label", stepsOf(run));
  const { code, reason, factor, how_to_check: check } = run.verdict;
  say("verdict-code", code);
  $("verdict-code").className = code === "fine" ? "verdict-fine" : code === "inconclusive" ? "" : "verdict-bad";
  say("verdict-reason", reason);
  say("verdict-check", code === "inconclusive" ? "" : check);
  drawFindings(run);
  $("controls").hidden = state.readOnly || !run.control;
  drawCooldown(run);
  $("suggested").hidden = !factor;
  if (factor) { $("suggested").dataset.factor = factor; say("suggested", `× ${number(factor, 3)} (suggested)`); }
  const groups = ratesOf(run).map((name) => name.slice(3));
  if (groups.length !== $("group").options.length - 1) {
    $("group").replaceChildren(make("option", "all groups", { value: "" }), ...groups.map((name) => make("option", `group ${name}`, { value: name })));
  }
  $("journal-part").hidden = !run.orders.length;
  const rows = run.orders.map((order) => make("tr", [
    make("td", String(order.number)), make("td", orderText(order)), make("td", `${order.sent.slice(11, 19)} UTC by ${order.who}`),
    make("td", [order.state, order.step === null ? "" : ` at step ${count(order.step)}`, order.reply ? `: ${order.reply}` : ""].join("")),
    make("td", `${number(order.loss_before)} → ${number(order.loss_after)}`),
  ]));
  $("journal").tBodies[0].replaceChildren(...rows.reverse());
}

// What a cooldown now would do to the rate, beside its button: the largest rate of the groups stands for all.
function drawCooldown(run) {
  const rates = ratesOf(run).map((name) => state.points[run.name][name]).filter(([, values]) => values[values.length - 1] > 0);
  const [steps, values] = rates.sort(([, a], [, b]) => b[b.length - 1] - a[a.length - 1])[0] ?? [[], []];
  const over = $("steps").valueAsNumber, now = steps[steps.length - 1], rate = values[values.length - 1];
  $("cooldown").hidden = !(over > 0 && rate > 0);
  if ($("cooldown").hidden) return;
  const end = now + over, low = Math.max(0, now - over), high = Math.max(end, Math.min(run.planned ?? 0, end + over));
  const place = thinned(steps, values, low, high, 160).filter((i) => steps[i] >= low && values[i] !== null);
  const coming = Object.values(run.future)[0] ?? [[], []];
  const lines = [
    ["", place.map((i) => [steps[i], values[i]])],
    ["future", coming[0].map((step, i) => [step, coming[1][i] * rate]).filter(([step]) => step <= high)],
    ["down", [[now, rate], [end, 0]]],
  ];
  const top = Math.max(...lines.flatMap(([, points]) => points.map(([, value]) => value)));
  $("cooldown-lines").replaceChildren(...lines.map(([name, points]) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points.map(([step, value]) => `${(100 * (step - low)) / (high - low)},${100 - (94 * value) / top}`).join(" "));
    if (name) line.setAttribute("class", name);
    return line;
  }));
  say("cooldown-text", `Dashed: the rate if you cool down now, until step ${count(end)}${run.planned > end ? ` (${count(run.planned - end)} before the planned end)` : ""}.${coming[0].length ? " Dotted: the schedule." : ""}`);
}

function orderText({ verb, arguments: given }) {
  if (verb === "scale") return `rate × ${number(given.factor)}${given.group === null ? "" : ` of group ${given.group}`}`;
  return given.steps ? `${verb} ${count(given.steps)} steps` : verb;
}

function drawFindings(run) {
  const text = JSON.stringify([run.findings, run.actions]);
  if ($("findings").dataset.text === text) return;
  $("findings").dataset.text = text;
  const items = run.findings.map((one, index) => make("li", [
    make("p", [make("b", `${index + 1}. ${one.code}`), make("span", ` ${one.severity}, step ${count(one.step)}`, { class: "quiet" })]),
    make("p", one.message),
    ...(one.remedy ? [make("p", [make("b", "Suggested fix: "), one.remedy])] : []),
  ], { class: one.severity }));
  $("findings").replaceChildren(...(items.length ? items : [make("li", "No findings so far.")]));
  $("actions").hidden = !run.actions.length;
  $("actions").replaceChildren(...run.actions.map((one) => make("li", `Guard: ${one}`)));
}

// ---------------------------------------------------------------- charts

const signature = (panels) => JSON.stringify(panels.map(({ title, log, series }) => [title, log, series.map((one) => [one.run, one.signal])]));

function dropCharts() {
  loading++;
  for (const panel of state.panels) panel.view?.finalize();
  Object.assign(state, { panels: [], wanted: "" });
  $("charts").replaceChildren(make("p", "The charts are being drawn …", { class: "quiet" }));
}

// What the charts depend on beside their points: series, size and colors.
const looks = () => JSON.stringify([signature(state.axes), $("charts").clientWidth, dark.matches]);

async function loadCharts() {
  const wanted = looks();
  if (state.wanted === wanted) return;
  state.wanted = wanted;
  const mine = ++loading;
  try {
    const whole = $("charts").clientWidth, columns = Math.max(1, Math.floor((whole + GAP) / (LEAST + GAP)));
    const width = Math.max(260, Math.floor((whole - GAP * (columns - 1)) / columns) - FRAME);
    const answer = await fetch(`/api/charts?${query({ width, dark: Number(dark.matches) })}`);
    if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
    const { panels } = await answer.json();
    if (mine !== loading) return;
    const figures = [];
    for (const panel of panels) {
      const legend = state.shown.length === 1 && panel.series.length > 1 ? panel.series.map((one) => make("span", [swatch(one), one.name])) : [];
      panel.plot = make("div", [], { class: "plot", tabindex: "0", role: "group", "aria-label": `Chart of ${panel.title}` });
      figures.push(make("figure", [make("figcaption", [panel.title, ...legend]), panel.plot]));
      const { view } = await vegaEmbed(panel.plot, panel.spec, EMBED);
      if (mine !== loading) { view.finalize(); return; }
      view.cleanThreshold = 500; // rows that have gone and are still remembered, for each line
      panel.view = view;
      watchDrag(panel);
    }
    for (const panel of state.panels) panel.view?.finalize();
    state.panels = panels;
    $("charts").replaceChildren(...figures);
  } catch (error) {
    if (mine === loading) state.wanted = ""; // and the next news try again
    throw error;
  }
  draw();
}

// The charts' own selections need expressions that the page's policy forbids; this one is by mouse, touch scrolls.
function watchDrag({ plot, view }) {
  const band = make("div", [], { class: "band", hidden: "" });
  plot.append(band);
  let from = null;
  const at = (event) => Math.min(view.width(), Math.max(0, event.clientX - plot.getBoundingClientRect().left - view.origin()[0]));
  plot.onpointerdown = (event) => {
    if (event.pointerType === "touch" || event.button !== 0) return;
    from = at(event);
    plot.setPointerCapture(event.pointerId);
  };
  plot.onpointermove = (event) => {
    if (from === null) return;
    const to = at(event);
    band.hidden = false;
    band.style.left = `${view.origin()[0] + Math.min(from, to)}px`;
    band.style.width = `${Math.abs(to - from)}px`;
  };
  plot.onpointerup = (event) => {
    const ends = from === null ? [] : [from, at(event)].sort((a, b) => a - b);
    from = null;
    band.hidden = true;
    if (ends.length && ends[1] - ends[0] > 4) zoomTo(ends.map((pixel) => view.scale("x").invert(pixel)));
  };
  plot.onpointercancel = () => { from = null; band.hidden = true; };
  plot.ondblclick = () => zoomTo(null);
  plot.onkeydown = (event) => {
    const key = { "=": "+", Escape: "0" }[event.key] ?? event.key;
    if (event.ctrlKey || event.metaKey || event.altKey || !(key in ZOOMS)) return;
    event.preventDefault();
    zoomBy(key);
  };
}

const lastOfAll = () => Math.max(1, ...state.shown.map(lastStep));
// The first and the last step on the axes, whose whole extent is given.
function span(whole) {
  const part = $("span").value, end = lastOfAll();
  return state.zoom ?? (part === "1" || part === "zoom" ? whole : [end * (1 - part), end * 1.01]);
}
const ZOOMS = { "+": [0.5, 0], "-": [2, 0], ArrowLeft: [1, -0.25], ArrowRight: [1, 0.25], 0: null };
// Zooms by a factor and moves by a fraction of what is shown, within all steps.
function zoomBy(key) {
  if (!state.axes.length) return;
  const [first, last] = state.axes[0].x, [low, high] = span([first, last]);
  if (!ZOOMS[key]) return zoomTo(null);
  const [factor, shift] = ZOOMS[key], width = Math.max(4, factor * (high - low));
  if (width >= last - first) return zoomTo(null);
  const from = Math.min(last - width, Math.max(first, (low + high - width) / 2 + shift * (high - low)));
  zoomTo([from, from + width]);
}

function zoomTo(steps) {
  state.zoom = steps;
  const choice = $("span").querySelector("[value=zoom]");
  choice.hidden = !steps;
  choice.textContent = steps ? steps.map((step) => count(Math.max(0, Math.round(step)))).join(" to ") : "zoomed";
  $("span").value = steps ? "zoom" : "1";
  draw();
}

function tip(handler, event, item, value) {
  const box = $("tip");
  box.hidden = value === null || value === undefined || value === "";
  if (box.hidden) return;
  const parts = typeof value === "object" ? Object.entries(value).map(([name, text]) => name.trim() ? `${name} ${text}` : text) : [String(value)];
  box.replaceChildren(...parts.map((text) => make("div", text)));
  box.style.left = `${Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 6)}px`;
  box.style.top = `${Math.max(4, event.clientY - box.offsetHeight - 10)}px`;
}

function smoothed(values, weight) {
  let sum = 0, norm = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}

async function drawCharts() {
  if (!state.axes.length) return;
  loadCharts();
  if (signature(state.axes) !== signature(state.panels)) return;
  const one = state.shown.length === 1 ? state.details[state.shown[0]] : null;
  const axes = state.axes, end = lastOfAll();
  for (const [place, panel] of state.panels.entries()) {
    // What is not on the screen is drawn less often.
    const { top, bottom } = panel.plot.getBoundingClientRect(), now = performance.now();
    if ((bottom < 0 || top > innerHeight) && now < panel.next) continue;
    panel.next = now + UNSEEN;
    const { x, y } = axes[place];
    const [low, high] = span(x);
    const raw = [], line = [], hover = [];
    const shown = (value) => panel.log && value !== null ? Math.max(value, y[0] / 10) : value; // zero is far below a log axis
    const [most, named] = [MOST_ROWS, MOST_NAMED].map((all) => Math.max(30, Math.min(MOST, all / panel.series.length)));
    for (const { run, signal, name } of panel.series) {
      const [steps, values] = state.points[run]?.[signal] ?? [[], []];
      const soft = state.smoothing && !/^(lr|momentum)\//.test(signal) ? smoothed(values, state.smoothing) : null;
      for (const [some, into, count] of [[soft ? values : [], raw, most], [soft ?? values, line, most], [soft ?? values, hover, named]]) {
        for (const i of thinned(some.length ? steps : [], some, low, high, count)) into.push({ x: steps[i], y: shown(some[i]), series: `${run}\n${signal}`, name });
      }
    }
    const view = panel.view.data("line", line).data("raw", raw).data("hover", hover).data("marks", marksOf(one)).data("future", panel.title === "learning rate" ? future(one) : []);
    for (const [name, value] of Object.entries({ x_low: low, x_high: high, y_low: y[0], y_high: y[1] })) view.signal(name, value);
    await view.runAsync();
    await new Promise((done) => { setTimeout(done); }); // keys and clicks come between two charts of many runs
    if (!state.panels.includes(panel)) return; // another selection came in between
  }
  $("charts").dataset.step = end; // up to which all charts are drawn
}

// The places of about `most` values on the axis: of each stretch, the lowest, the highest and the first that is missing.
function thinned(steps, values, low, high, most) {
  const from = Math.max(0, steps.findIndex((step) => step >= low) - 1);
  const beyond = steps.findIndex((step) => step > high), to = beyond < 0 ? steps.length : beyond + 1;
  const width = Math.ceil((2 * (to - from)) / most) || 1, kept = [];
  for (let start = from; start < to; start += width) {
    let least = -1, largest = -1, missing = -1;
    for (let i = start; i < Math.min(to, start + width); i++) {
      if (values[i] === null) { if (missing < 0) missing = i; continue; }
      if (least < 0 || values[i] < values[least]) least = i;
      if (largest < 0 || values[i] > values[largest]) largest = i;
    }
    kept.push(...[...new Set([least, largest, missing])].filter((i) => i >= 0).sort((a, b) => a - b));
  }
  return kept;
}

function marksOf(run) {
  if (!run) return [];
  const found = run.findings.map(({ step }, index) => [step, String(index + 1)]);
  const orders = run.orders.filter((order) => order.step !== null).map((order) => [order.step, orderText(order).replace("rate ", "")]);
  return [...found, ...orders].sort((a, b) => a[0] - b[0]).map(([x, text], index) => ({ x, text, row: 9 + 13 * (index % 4) }));
}

function future(run) {
  const lines = run ? Object.entries(run.future).map(([group, [steps, ratios]]) => [`lr/${group}`, steps, ratios]) : [];
  return lines.flatMap(([signal, steps, ratios]) => steps.map((x, index) => ({ x, y: last(run.name, signal) * ratios[index] || null, series: `${run.name}\n${signal}` })));
}

// ---------------------------------------------------------------- searches and sweeps

function drawStudyFacts() {
  const one = state.list.studies.find(({ name }) => name === state.study);
  if (!one) return null;
  say("study-name", one.name);
  const { tried, secondsLeft, atMost, updated } = one;
  const since = (Date.now() - Date.parse(updated)) / 1000;
  const left = secondsLeft ? ` · ${atMost ? "at most" : "about"} ${duration(Math.max(0, secondsLeft - Math.max(0, since)))} left` : "";
  say("study-facts", `${one.kind} of ${one.task} · ${one.status} · ${count(one.runs)} runs, cost ${number(one.cost, 3)} full runs${left}`);
  $("study-now").hidden = !tried?.length;
  say("study-now", `Being tried: ${tried?.join("; ")}.`);
  return one;
}

async function drawStudy() {
  const one = drawStudyFacts();
  const mark = JSON.stringify([one?.runs, one?.status, one?.tried, state.study, dark.matches, $("main").clientWidth]);
  if (!one || studied === mark) return;
  studied = mark;
  const width = Math.max(260, Math.min(980, $("study-part").clientWidth) - FRAME);
  const answer = await fetch(`/api/study?${new URLSearchParams({ name: one.name, width, dark: Number(dark.matches) })}`);
  const found = await answer.json();
  if (studied !== mark) return;
  say("study-rate", found.error ? "No answer" : !found.runs ? "No run has ended yet" : found.lr === null ? "No answer yet" : `Learning rate ${found.lr}`);
  say("study-reason", found.error ?? (found.runs ? `${found.asGood ? `As good: ${found.asGood}. ` : ""}${found.verdict[0].toUpperCase()}${found.verdict.slice(1)}. ${found.reason}` : ""));
  say("study-next", found.runs ? [found.next, `Valid for ${found.for}.`, `Cost: ${found.cost}.`, ...found.notes].join(" ") : "");
  if (!found.spec) { $("study-chart").replaceChildren(); return; }
  const { view } = await vegaEmbed($("study-chart"), found.spec, EMBED);
  studyView?.finalize();
  studyView = view;
}

// ---------------------------------------------------------------- orders

async function send(verb, given = {}, confirmed = "") {
  const run = state.shown[0];
  if (confirmed && !(await agreed(confirmed))) return;
  const answer = await fetch("/api/orders", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ run, verb, arguments: given }) });
  const { number: place, error } = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.` }));
  say("reply", error ? `Not sent: ${error}` : `Order ${place} is sent: ${orderText({ verb, arguments: { group: null, ...given } })}.`);
}
function agreed(text) {
  say("confirm-text", text);
  $("confirm").returnValue = "no";
  $("confirm").showModal();
  return new Promise((done) => { $("confirm").onclose = () => done($("confirm").returnValue === "yes"); });
}
function scale(factor) {
  const group = $("group").value || null;
  const much = factor > 10 || factor < 0.1;
  const question = much ? `× ${number(factor)} is more than a factor of 10 at once. Change the rate of ${state.shown[0]}?` : "";
  send("scale", { factor, group, ...(much ? { confirmed: true } : {}) }, question);
}
$("scale-form").onsubmit = (event) => { event.preventDefault(); scale($("factor").valueAsNumber); };
$("steps").oninput = () => { const run = state.details[state.shown[0]]; if (run) drawCooldown(run); };
$("steps-form").onsubmit = (event) => { event.preventDefault(); send(event.submitter.dataset.verb, { steps: $("steps").valueAsNumber }); };
for (const button of document.querySelectorAll(".quick")) button.onclick = () => scale(Number(button.dataset.factor));
for (const button of document.querySelectorAll("#controls .row [data-verb]")) {
  const { verb } = button.dataset;
  button.onclick = () => send(verb, {}, verb === "stop" ? `Stop the training of ${state.shown[0]}?` : "");
}

// ---------------------------------------------------------------- the start

$("filter").oninput = drawList;
for (const button of document.querySelectorAll("[data-zoom]")) button.onclick = () => zoomBy(button.dataset.zoom);
$("smoothing").oninput = () => { state.smoothing = $("smoothing").valueAsNumber; say("smoothing-value", String(state.smoothing)); draw(); };
$("span").onchange = () => { if ($("span").value !== "zoom") { state.zoom = null; $("span").querySelector("[value=zoom]").hidden = true; } draw(); };
dark.onchange = draw;
setInterval(() => { if (state.study) drawStudyFacts(); }, 2000); // the time left goes on without news
let resized;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(draw, 250); });
addEventListener("hashchange", readAddress);
let scrolled;
addEventListener("scroll", () => { clearTimeout(scrolled); scrolled = setTimeout(draw, 100); });
if (matchMedia("(max-width: 800px)").matches) $("picker").open = false;
readAddress();
