// The second panel: real trainings of a small network, made beforehand, one for each rate.

const LOSSES = [0.01, 30]; // of the loss curves
const FINALS = [0.05, 10]; // of the final loss
const WITHIN = 1.1; // of the best final loss is good enough
const UNTRAINED = RUNS.start; // the loss of one who guesses among ten digits

const real = { optimizer: "momentum", momentum: 0.9, place: 14 };

function familiesOf(optimizer) {
  return RUNS.families.filter((family) => family.optimizer === optimizer);
}

function family() {
  const all = familiesOf(real.optimizer);
  return all.find(({ momentum }) => momentum === real.momentum) ?? all[0];
}

/** The last unseen loss of a run; infinite where it was lost. */
function final({ lost, unseen }) {
  return lost === null ? (unseen.at(-1) ?? Infinity) : Infinity;
}

function bestPlace({ runs }) {
  const finals = runs.map(final);
  return finals.indexOf(Math.min(...finals));
}

/** Kind, title and reason of the run at a place of a family. */
function judgeReal({ runs, rates }, place) {
  const run = runs[place];
  const best = bestPlace({ runs });
  const loss = final(run);
  const least = final(runs[best]);
  const answer = `The best of these ${runs.length} rates is ${short(rates[best])}: loss ${short(least, 3)}, ${percent(runs[best].right)} of validation digits correct.`;
  if (run.lost !== null) {
    return { kind: "diverges", title: `Diverged at step ${run.lost}`, reason: `The loss rose far above that of guessing, and training was stopped. ${answer}` };
  }
  const facts = `Validation loss ${short(loss, 3)} after ${RUNS.steps} steps, ${percent(run.right)} of validation digits correct.`;
  if (loss > UNTRAINED * 1.05) return { kind: "diverges", title: "Worse than at the start", reason: `${facts} Guessing gives ${short(UNTRAINED)}. ${answer}` };
  if (place === best) return { kind: "good", title: "The best of these rates", reason: `${facts} ${neighbours({ runs, rates })}` };
  if (loss <= WITHIN * least) return { kind: "good", title: "As good as the best", reason: `${facts} ${answer}` };
  const low = place < best;
  return { kind: low ? "crawls" : "oscillates", title: low ? "Too low" : "Too high", reason: `${facts} ${answer}` };
}

/** The rates whose final loss is at most `times` the best. */
function goodRates({ runs, rates }, times) {
  const least = final(runs[bestPlace({ runs })]);
  return rates.filter((_, place) => final(runs[place]) <= times * least);
}

/** By which factor the rates of a family differ whose loss is at most twice the best: the median over all families. */
function typicalSpan() {
  const spans = RUNS.families.map((one) => goodRates(one, 2)).map((good) => good.at(-1) / good[0]).sort((a, b) => a - b);
  return (spans[Math.floor((spans.length - 1) / 2)] + spans[Math.ceil((spans.length - 1) / 2)]) / 2;
}

/** How wide the good range is, in words. */
function neighbours(here) {
  const good = goodRates(here, WITHIN);
  if (good.length < 2) return "No other rate comes within 10% of it.";
  return `Rates from ${short(good[0])} to ${short(good.at(-1))} come within 10% of it.`;
}

function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

// Pictures -----------------------------------------------------------------------------------------------------------

/** The curves of a run on a frame, and a cross where it was lost. */
function unseenPairs(run) {
  return [[0, UNTRAINED], ...run.unseen.map((loss, k) => [RUNS.marks[k], loss ?? Infinity])];
}

function trainPairs(run) {
  return run.train.map((loss, k) => [RUNS.thin * (k + 0.5) - 0.5, loss ?? Infinity]);
}

function lostMark(run, box, size) {
  return run.lost === null ? "" : cross(box.x(run.lost), box.top + size + 1, size);
}

function drawCurves() {
  const svg = byId("curves");
  const { runs, rates } = family();
  const run = runs[real.place];
  const box = frame(sized(svg), {
    x: { domain: [0, RUNS.steps], ticks: [0, 20, 40, 60, 80, 100], name: "step" },
    y: { domain: LOSSES, log: true },
    margin: { top: 26 },
  });
  const others = runs.filter((_, place) => place !== real.place);
  const grey = others.map((other) => through(unseenPairs(other), box)).join("");
  const train = run.lost === null ? trainPairs(run) : [...trainPairs(run), [run.lost, Infinity]];
  const markup = [
    box.markup,
    `<path class="family" d="${grey}"/>`,
    `<path class="line train" d="${through(train, box)}"/>`,
    `<path class="line unseen" d="${through(unseenPairs(run), box)}"/>`,
    `<path class="lost" d="${lostMark(run, box, 6)}"/>`,
    legend(box),
  ];
  const title = `Loss vs. step at learning rate ${short(rates[real.place])}, in front of ${others.length} other rates.`;
  show(svg, markup.join(""), title);
}

/** What the lines are, in the head of the chart, where no line goes. */
function legend(box) {
  const words = '<tspan class="of-unseen">validation</tspan>, <tspan class="of-train">training</tspan>, other rates in gray';
  return `<text class="name" x="${box.left - 34}" y="12">${words}</text>`;
}

function drawFinals() {
  const svg = byId("valley");
  const { runs, rates } = family();
  const best = bestPlace({ runs });
  const box = frame(sized(svg), {
    x: { domain: [rates[0], rates.at(-1)], log: true, name: "learning rate" },
    y: { domain: FINALS, log: true },
    margin: { top: 26, bottom: 40 },
  });
  const pairs = rates.map((lr, place) => [lr, final(runs[place])]);
  const kept = pairs.filter(([, loss]) => Number.isFinite(loss));
  const lost = pairs.filter(([, loss]) => !Number.isFinite(loss));
  const [lr, loss] = pairs[real.place];
  const x = px(box.x(lr));
  const bestX = px(box.x(rates[best]));
  const markup = [
    box.markup,
    `<path class="axis" stroke-dasharray="2 4" d="M${box.left} ${px(box.y(UNTRAINED))}H${box.right}"/>`,
    `<text class="halo" x="${box.left + 5}" y="${px(box.y(UNTRAINED)) - 5}">guessing</text>`,
    `<path class="best" d="M${bestX} ${box.top}V${box.bottom}"/>`,
    `<text class="of-best halo" x="${bestX}" y="${box.bottom - 8}" text-anchor="${bestX > (box.left + box.right) / 2 ? "end" : "start"}" dx="${bestX > (box.left + box.right) / 2 ? -6 : 6}">best ${short(rates[best])}</text>`,
    `<path class="line unseen" d="${through(kept, box)}"/>`,
    `<path class="lost" d="${lost.map(([at]) => cross(box.x(at), box.top, 4)).join("")}"/>`,
    lost.length ? `<text class="of-lost" x="${box.right}" y="12" text-anchor="end">× diverged</text>` : "",
    `<path class="axis" d="M${x} ${px(box.y(loss))}V${box.bottom}"/>`,
    `<g class="${judgeReal({ runs, rates }, real.place).kind}"><circle class="now kind-fill" cx="${x}" cy="${px(box.y(loss))}" r="7"/></g>`,
    `<text class="name" x="${box.left - 34}" y="12">final validation loss</text>`,
  ];
  show(svg, markup.join(""), `Final validation loss vs. learning rate: lowest, ${short(final(runs[best]))}, at ${short(rates[best])}; ${lost.length} of ${runs.length} rates diverged.`);
}

// Words --------------------------------------------------------------------------------------------------------------

function tellReal() {
  const here = family();
  const { kind, title, reason } = judgeReal(here, real.place);
  const lr = here.rates[real.place];
  byId("trained-verdict").parentElement.className = `says ${kind}`;
  byId("trained-verdict").textContent = title;
  byId("trained-reason").textContent = reason;
  byId("trained-lr-out").textContent = short(lr);
  byId("trained-lr").setAttribute("aria-valuetext", `${short(lr)}: ${title.toLowerCase()}`);
  byId("command").innerHTML = command(here).replace(/--\S+ \S+/g, "<span>$&</span>");
}

/** The command that trains the same rates; its momentum may be left out where the optimizer has none. */
function command({ optimizer, momentum, rates }) {
  const own = momentum === null ? "" : ` --momentum ${momentum}`;
  return `stepsize sweep ${RUNS.task} --optimizer ${optimizer}${own} --steps ${RUNS.steps} --lr ${rates[0]}:${rates.at(-1)} --trials ${rates.length}`;
}

function alterReal(words) {
  Object.assign(real, words);
  const all = familiesOf(real.optimizer);
  byId("momenta-set").hidden = all.length === 1;
  byId("momenta-label").innerHTML = `Momentum <i>${OPTIMIZERS[real.optimizer].symbol ?? ""}</i>`;
  byId("trained-lr").value = real.place;
  drawCurves();
  drawFinals();
  tellReal();
  link({ trained: real.optimizer, beta: real.momentum, place: real.place });
}

function openReal(words) {
  const names = [...new Set(RUNS.families.map(({ optimizer }) => optimizer))];
  const momenta = [...new Set(RUNS.families.map(({ momentum }) => momentum))].filter((momentum) => momentum !== null);
  const last = RUNS.families[0].rates.length - 1;
  const choose = radios(byId("trained"), "trained", names.map((name) => [name, OPTIMIZERS[name].title]), (optimizer) => alterReal({ optimizer }));
  const chooseMomentum = radios(byId("momenta"), "beta", momenta.map((m) => [m, String(m)]), (text) => alterReal({ momentum: Number(text) }));
  if (names.includes(words.trained)) real.optimizer = words.trained;
  if (momenta.includes(Number(words.beta))) real.momentum = Number(words.beta);
  choose(real.optimizer);
  chooseMomentum(real.momentum);
  byId("trained-lr").max = last;
  byId("trained-lr").addEventListener("input", (event) => alterReal({ place: Number(event.target.value) }));
  const total = RUNS.families.reduce((sum, { runs }) => sum + runs.length, 0);
  byId("real-about").textContent = RUNS.about.replace("{total}", total);
  byId("span").textContent = short(typicalSpan());
  byId("source").textContent = `Data: ${RUNS.source}.`;
  alterReal({ place: Math.round(numberFrom(words.place, real.place, [0, last])) });
}
