// The first panel: a path on a surface, what it comes to, and what every other rate would have done.

const STEPS = 100;
const STRIP = 120; // rates that the band on the slider tries
const SLIVER = 3; // of them
const PACE = 40; // steps a second, when a path is played
const OUT = 1.2; // widths of the map from its middle: a path is not drawn beyond
const ROUGH = { valley: 3, bend: 4, basins: 2, saddle: 1 }; // deviation of the gradient's noise at its most

const ground = { surface: "valley", optimizer: "sgd", lr: 0.18, momentum: 0.9, noise: 0, seed: 1 };
const shown = { run: null, judged: null, step: STEPS, frame: 0 };

function takesMomentum() {
  return OPTIMIZERS[ground.optimizer].symbol !== undefined;
}

function setting(lr = ground.lr) {
  return {
    surface: ground.surface,
    optimizer: ground.optimizer,
    lr,
    momentum: takesMomentum() ? ground.momentum : 0,
    noise: (ROUGH[ground.surface] * ground.noise) / 10,
    seed: ground.seed,
    steps: STEPS,
  };
}

/** Compute the path anew and draw all that depends on the rate. */
function walk() {
  shown.run = path(setting());
  shown.judged = judge(setting(), shown.run);
  shown.step = shown.run.points.length - 1;
  drawTrail();
  drawFall();
  tellGround();
}

/** Draw what depends on everything but the rate, and then the rest. */
function survey() {
  drawStrip();
  walk();
}

// The map ------------------------------------------------------------------------------------------------------------

function drawRelief() {
  relief(byId("relief"), ground.surface, reliefColours(), Math.min(2, window.devicePixelRatio || 1));
}

function drawTrail() {
  const svg = byId("trail");
  const { width, height } = sized(svg);
  const { to } = view(ground.surface, width, height);
  const { points } = shown.run;
  const gone = points.map(to).findIndex(([x, y]) => !(Math.hypot(x - width / 2, y - height / 2) < OUT * width));
  const visible = points.slice(0, Math.min(shown.step, gone < 0 ? Infinity : gone) + 1);
  const places = visible.map((point) => to(point).map((value) => px(Math.min(1e5, Math.max(-1e5, value)))));
  const d = places.map(([x, y], k) => `${k ? "L" : "M"}${x} ${y}`).join("");
  const beads = places.slice(1).map(([x, y]) => `M${x} ${y}h0`).join("");
  const [start, end] = [places[0], places.at(-1)];
  const goals = SURFACES[ground.surface].minima.map((minimum) => {
    const [x, y] = to(minimum);
    return `<path class="goal" d="M${px(x - 7)} ${px(y)}h14m-7 -7v14"/>`;
  });
  const markup = [
    ...goals,
    `<path class="under" d="${d}"/><path class="over" d="${d}"/><path class="beads" d="${beads}"/>`,
    `<circle class="begin" cx="${start[0]}" cy="${start[1]}" r="6"/>`,
    `<g class="${shown.judged.kind}"><circle class="now kind-fill" cx="${end[0]}" cy="${end[1]}" r="8"/></g>`,
  ];
  show(svg, markup.join(""), `Path of ${OPTIMIZERS[ground.optimizer].title} on the surface "${SURFACES[ground.surface].title}": ${shown.judged.title.toLowerCase()}.`);
}

// The loss -----------------------------------------------------------------------------------------------------------

function drawFall() {
  const svg = byId("fall");
  const { losses } = shown.run;
  const { least } = SURFACES[ground.surface];
  const begin = losses[0] - least;
  const top = 10 ** Math.ceil(Math.log10(begin) + 0.7);
  const box = frame(sized(svg), {
    x: { domain: [0, STEPS], ticks: [0, 20, 40, 60, 80, 100], name: "step" },
    y: { domain: [top * 1e-5, top], log: true },
    margin: { right: 12, top: 26 },
  });
  const pairs = losses.map((loss, step) => [step, loss - least]);
  const at = pairs[Math.min(shown.step, pairs.length - 1)];
  const markup = [
    box.markup,
    `<text class="name" x="${box.left - 34}" y="12">loss above the minimum</text>`,
    `<g class="${shown.judged.kind}"><path class="line kind-line" d="${through(pairs, box)}"/>`,
    `<circle class="now kind-fill" cx="${px(box.x(at[0]))}" cy="${px(box.y(at[1]))}" r="6"/></g>`,
    shown.run.lost === null ? "" : `<text class="of-lost halo" x="${px(box.x(shown.run.lost) + 10)}" y="${box.top + 5}">diverged at step ${shown.run.lost}</text>`,
  ];
  show(svg, markup.join(""), `Loss vs. step: from ${short(losses[0] - least)} to ${short(losses.at(-1) - least)} above the minimum in ${losses.length - 1} steps.`);
}

// The slider's band --------------------------------------------------------------------------------------------------

function drawStrip() {
  const svg = byId("strip");
  const { width } = sized(svg);
  const range = SURFACES[ground.surface].rates;
  const segments = [];
  for (let k = 0; k < STRIP; k += 1) {
    const trial = setting(lrAt((LR_STOPS * (k + 0.5)) / STRIP, range));
    const run = path(trial);
    const kind = kindOf(trial, run, look(trial, run)); // without the words, which take longer
    if (segments.at(-1)?.kind === kind) segments.at(-1).end = k + 1;
    else segments.push({ kind, begin: k, end: k + 1 });
  }
  const place = (k) => thumbAt(k / STRIP, width);
  const bars = withoutSlivers(segments).map(({ kind, begin, end }) => {
    const [left, right] = [place(begin), place(end)];
    const word = TITLES[kind].toLowerCase();
    const label = right - left > 7.2 * word.length ? `<text class="name" x="${px((left + right) / 2)}" y="14" text-anchor="middle">${word}</text>` : "";
    return `<g class="${kind}"><rect x="${px(left)}" y="27" width="${px(right - left + 0.3)}" height="10"/>${label}</g>`;
  });
  svg.innerHTML = [...bars, ...limits().map((limit) => limitTick(limit, width, range))].join("");
}

/** Join what a stretch narrower than the slider's thumb parts: a path that happens to end well among ones that do not. */
function withoutSlivers(segments) {
  const kept = [];
  for (const segment of segments) {
    const before = kept.at(-1);
    const beforeThat = kept.at(-2);
    if (before && before.kind === segment.kind) before.end = segment.end;
    else if (beforeThat && beforeThat.kind === segment.kind && before.end - before.begin <= SLIVER) {
      kept.pop();
      beforeThat.end = segment.end;
    } else kept.push({ ...segment });
  }
  return kept;
}

/** The rates that theory marks: the bound of a quadratic, or what each of two different minima holds. */
function limits() {
  const { quadratic, marked, minima } = SURFACES[ground.surface];
  const { optimizer, momentum } = setting();
  if (!OF_THEORY.includes(optimizer)) return [];
  if (quadratic) {
    const limit = bound(optimizer, Math.max(...quadratic), momentum);
    return [[limit, `${boundText(optimizer, momentum)} = ${short(limit)}`]];
  }
  return (marked ?? []).map((name, k) => {
    const limit = bound(optimizer, sharpness(ground.surface, minima[k]), momentum);
    return [limit, `${name} ${short(limit)}`];
  });
}

function limitTick([limit, text], width, range) {
  if (limit > range[1]) return "";
  const x = thumbAt(stopOf(limit, range) / LR_STOPS, width);
  const anchor = x > width - 90 ? "end" : "middle";
  return `<path class="tick" d="M${px(x)} 22v26"/><text class="strong" x="${px(x)}" y="61" text-anchor="${anchor}">${text}</text>`;
}

// Words --------------------------------------------------------------------------------------------------------------

function tellGround() {
  const { kind, title, reason } = shown.judged;
  const { title: name, rule, symbol } = OPTIMIZERS[ground.optimizer];
  byId("verdict").parentElement.className = `says ${kind}`;
  byId("verdict").textContent = title;
  byId("reason").textContent = reason;
  const marks = limits().length > 1 ? " Ticks on the slider: the highest rate at which each minimum is stable." : "";
  byId("about").textContent = SURFACES[ground.surface].about + marks;
  byId("rule").innerHTML = `${name}: <b>${rule}</b>`;
  byId("lr-out").textContent = short(ground.lr, 3);
  byId("lr").setAttribute("aria-valuetext", `${short(ground.lr, 3)}: ${title.toLowerCase()}`);
  byId("momentum-label").innerHTML = `Momentum <i>${symbol ?? ""}</i>`;
  byId("momentum-out").textContent = symbol ? short(ground.momentum, ground.momentum > 0.9 ? 3 : 2) : "none";
  byId("momentum").setAttribute("aria-valuetext", symbol ? short(ground.momentum, 3) : `${name} has none`);
  const { noise } = setting();
  byId("noise-out").textContent = noise > 0 ? `σ = ${short(noise)}` : "none";
  byId("noise").setAttribute("aria-valuetext", noise > 0 ? `standard deviation ${short(noise)}` : "none");
  byId("draw").disabled = noise === 0;
  tellStep();
}

function tellStep() {
  byId("step").value = shown.step;
  byId("step-out").textContent = `step ${shown.step}: ${short(Math.max(0, shown.run.losses[shown.step] - SURFACES[ground.surface].least))}`;
}

// Moving along the path ----------------------------------------------------------------------------------------------

function goTo(step) {
  shown.step = step;
  drawTrail();
  drawFall();
  tellStep();
}

function stop() {
  cancelAnimationFrame(shown.frame);
  shown.frame = 0;
}

/** Run along the path once; who asked for less motion is shown its end at once. */
function play() {
  stop();
  const last = shown.run.points.length - 1;
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return goTo(last);
  let began = null; // a frame's time may lie before the call that asked for it
  const onwards = (now) => {
    began ??= now;
    const step = Math.min(last, Math.floor(((now - began) / 1000) * PACE));
    if (step !== shown.step) goTo(step);
    shown.frame = step < last ? requestAnimationFrame(onwards) : 0;
  };
  goTo(0);
  shown.frame = requestAnimationFrame(onwards);
  return undefined;
}

// --------------------------------------------------------------------------------------------------------------------

/** Take over a change: `words` are the parts of the setting that are new. */
function alter(words) {
  stop();
  Object.assign(ground, words);
  const range = SURFACES[ground.surface].rates;
  ground.lr = Math.min(range[1], Math.max(range[0], ground.lr));
  byId("lr").value = stopOf(ground.lr, range);
  byId("momentum").value = momentumStop(ground.momentum);
  byId("momentum").disabled = !takesMomentum();
  byId("momentum").closest(".knob").classList.toggle("off", !takesMomentum());
  byId("noise").value = ground.noise;
  if (words.surface) drawRelief();
  if (Object.keys(words).every((word) => word === "lr")) walk();
  else survey();
  const { surface, optimizer, lr, momentum, noise } = ground;
  link({ surface, optimizer, lr: lr.toPrecision(3), momentum: momentum.toPrecision(3), noise });
}

function openGround(words) {
  const tiles = Object.entries(SURFACES).map(([name, { title }]) => [name, `<canvas data-surface="${name}"></canvas>${title}`]);
  const chips = Object.entries(OPTIMIZERS).map(([name, { title }]) => [name, title]);
  const chooseSurface = radios(byId("surfaces"), "surface", tiles, (surface) => alter({ surface }));
  const chooseOptimizer = radios(byId("optimizers"), "optimizer", chips, (optimizer) => alter({ optimizer }));
  if (words.surface in SURFACES) ground.surface = words.surface;
  if (words.optimizer in OPTIMIZERS) ground.optimizer = words.optimizer;
  chooseSurface(ground.surface);
  chooseOptimizer(ground.optimizer);
  byId("lr").addEventListener("input", (event) => alter({ lr: lrAt(event.target.value, SURFACES[ground.surface].rates) }));
  byId("momentum").addEventListener("input", (event) => alter({ momentum: momentumAt(event.target.value) }));
  byId("noise").addEventListener("input", (event) => alter({ noise: Number(event.target.value) }));
  byId("draw").addEventListener("click", () => alter({ seed: ground.seed + 1 }));
  byId("play").addEventListener("click", play);
  byId("step").addEventListener("input", (event) => {
    stop();
    goTo(Math.min(Number(event.target.value), shown.run.points.length - 1));
  });
  redrawGround();
  alter({
    lr: numberFrom(words.lr, ground.lr, SURFACES[ground.surface].rates),
    momentum: numberFrom(words.momentum, ground.momentum, [0, 0.99]),
    noise: numberFrom(words.noise, ground.noise, [0, 10]),
  });
}

/** Draw all of the panel's grounds anew: for another size, or other colours. */
function redrawGround() {
  for (const tile of document.querySelectorAll("canvas[data-surface]")) relief(tile, tile.dataset.surface, reliefColours(), 2);
  drawRelief();
}
