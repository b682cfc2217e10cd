// What a path shows, in a word and a sentence with its reason.

const ARRIVED = 0.01; // share of the descent that may be left
const SOON = 25; // steps: who arrives by then may turn as often as it likes
const TURNING = 0.3; // share of steps that turn back or climb, from which a path is called an oscillation
const TITLES = { diverges: "Diverges", oscillates: "Oscillates", crawls: "Slow", good: "Good" };
const OF_THEORY = ["sgd", "momentum", "nesterov"];

/** The verdict of a setting and its path: kind, title and reason. */
function judge(setting, run) {
  const seen = look(setting, run);
  const kind = kindOf(setting, run, seen);
  const reason = OF_THEORY.includes(setting.optimizer) ? byTheory(kind, setting, seen) : byScale(kind, setting, seen);
  return { kind, title: TITLES[kind], reason: [reason, where(kind, setting, seen)].filter(Boolean).join(" "), seen };
}

/** What can be read off a path. */
function look(setting, run) {
  const ground = SURFACES[setting.surface];
  const end = run.points.at(-1);
  const away = ground.minima.map((minimum) => Math.hypot(end[0] - minimum[0], end[1] - minimum[1]));
  const nearest = away.indexOf(Math.min(...away));
  const floor = ground.loss(...ground.minima[nearest]);
  const limit = floor + ARRIVED * (run.losses[0] - floor);
  let arrival = run.losses.length;
  while (arrival > 0 && run.losses[arrival - 1] <= limit) arrival -= 1;
  const steps = run.losses.length - 1;
  return {
    arrival: arrival <= steps ? arrival : null,
    turning: turning(run, Math.max(10, Math.min(arrival, steps))),
    nearest,
    steps,
    rose: !(run.losses.at(-1) <= run.losses[0]),
    steepest: Math.max(...run.points.filter((_, k) => run.losses[k] <= run.losses[0]).map((point) => sharpness(setting.surface, point))),
    distance: mean(run.points.slice(-20).map((p) => Math.hypot(p[0] - ground.minima[nearest][0], p[1] - ground.minima[nearest][1]))),
    far: Math.hypot(ground.start[0] - ground.minima[nearest][0], ground.start[1] - ground.minima[nearest][1]),
  };
}

/** The share of the first `count` steps that turn back on the one before, or climb. */
function turning({ points, losses }, count) {
  const last = Math.min(count, points.length - 1);
  let turns = 0;
  for (let t = 2; t <= last; t += 1) {
    const [a, b, c] = [points[t - 2], points[t - 1], points[t]];
    const product = (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1]);
    if (product < 0 || losses[t] > losses[t - 1]) turns += 1;
  }
  return last < 2 ? 0 : turns / (last - 1);
}

function kindOf(setting, run, seen) {
  const curvatures = SURFACES[setting.surface].quadratic;
  const solved = curvatures && OF_THEORY.includes(setting.optimizer);
  const lost = solved
    ? slowest(setting.optimizer, setting.lr, setting.momentum, curvatures) >= 1
    : run.lost !== null || seen.rose;
  if (lost) return "diverges";
  if (seen.arrival !== null && seen.arrival <= SOON) return "good";
  if (seen.turning > TURNING || seen.rose) return "oscillates";
  return seen.arrival === null ? "crawls" : "good";
}

// SGD and momentum: the bound of the largest curvature, exact on a quadratic ------------------------------------------

function byTheory(kind, setting, seen) {
  const curvatures = SURFACES[setting.surface].quadratic;
  if (setting.noise > 0 && kind !== "diverges" && curvatures) return heldUp(setting, curvatures, seen);
  return curvatures ? onQuadratic(kind, setting, curvatures, seen) : onBent(kind, setting, seen);
}

function onQuadratic(kind, { optimizer, lr, momentum }, curvatures, seen) {
  const limit = bound(optimizer, Math.max(...curvatures), momentum);
  const left = slowest(optimizer, lr, momentum, curvatures);
  const across = 1 - lr * Math.max(...curvatures);
  if (kind === "diverges") {
    const grows = optimizer === "sgd" ? short(across) : `up to ${short(left, 3)}`;
    return `η = ${short(lr, 3)} is above ${boundText(optimizer, momentum)} = ${short(limit, 3)}: across the valley, every step multiplies the distance by ${grows}.`;
  }
  if (kind === "oscillates" && across < 0 && optimizer === "sgd") {
    return `Across the valley every step multiplies the distance by 1 − ηL = ${short(across)}: it lands on the other side, ${left > 0.8 ? "almost as high" : "lower each time"}. ${arrivedText(seen)}`;
  }
  if (kind === "oscillates") {
    return `Momentum carries it past the minimum. Oscillations fall to half after ${count(Math.log(0.5) / Math.log(left))} steps. ${arrivedText(seen)}`;
  }
  const best = fastest(optimizer, momentum, curvatures);
  if (kind === "crawls") {
    return `Along the valley every step leaves ${short(left, 4)} of the distance, so 1% of the loss remains after ${count(Math.log(ARRIVED) / 2 / Math.log(left))} steps. At η = ${short(best.lr, 3)} every step would leave ${short(best.left)}.`;
  }
  return `${arrivedText(seen)} In the slowest direction, ${short(left, 3)} of the distance remains after each step; the lowest possible value here is ${short(best.left, 3)}, at η = ${short(best.lr, 3)}.`;
}

function onBent(kind, { optimizer, lr, momentum, noise }, seen) {
  const limit = (curvature) => short(bound(optimizer, curvature, momentum));
  const symbols = boundText(optimizer, momentum, "λ");
  if (kind === "diverges" && lr <= bound(optimizer, seen.steepest, momentum)) {
    return "Momentum makes it diverge: it ends higher than it started.";
  }
  if (kind === "diverges") {
    return `The path meets curvatures up to λ = ${short(seen.steepest)}, where rates above ${symbols} = ${limit(seen.steepest)} diverge; this one is η = ${short(lr)}.`;
  }
  if (kind === "crawls") {
    return `It does not arrive in ${seen.steps} steps. The largest curvature on the way is λ = ${short(seen.steepest)}, which allows rates up to ${symbols} = ${limit(seen.steepest)}.`;
  }
  if (kind === "oscillates") {
    const cause = noise > 0 ? "Because of the noise, more than" : "More than";
    return `${cause} ${Math.floor(seen.turning * 100)}% of its steps turn around or go up. ${arrivedText(seen)}`;
  }
  return arrivedText(seen);
}

function heldUp({ optimizer, lr, momentum, noise }, curvatures, seen) {
  const floor = noiseFloor(optimizer, lr, momentum, curvatures, noise);
  if (floor === null) return arrivedText(seen);
  return `The noise keeps the loss at ${short(floor)} on average, with any number of steps. Half the rate would keep it at ${short(noiseFloor(optimizer, lr / 2, momentum, curvatures, noise))}. ${arrivedText(seen)}`;
}

// AdaGrad, RMSprop and Adam: a step is as long as the rate says, whatever the slope ------------------------------------

function byScale(kind, { optimizer, lr, momentum }, seen) {
  if (kind === "good") return arrivedText(seen);
  if (kind === "crawls" && optimizer === "adagrad") {
    return `On a constant slope its t-th step is η/√t long: ${seen.steps} steps add up to ${short(2 * lr * Math.sqrt(seen.steps))} in each parameter, and the minimum is ${short(seen.far)} away.`;
  }
  const reach = optimizer === "rmsprop" && momentum > 0 ? `η/(1 − β) = ${short(lr / (1 - momentum))}` : `η = ${short(lr)}`;
  const long = optimizer === "adagrad" ? `Its first step is η = ${short(lr)} long in each parameter, on any slope.` : `A step is about ${reach} long in each parameter, on any slope.`;
  if (kind === "crawls") return `${long} The minimum is ${short(seen.far)} away, and ${seen.steps} steps do not reach it.`;
  if (kind === "diverges") return `${long} That is too far for this surface: it ends higher than it started.`;
  return seen.arrival === null
    ? `${long} So it circles the minimum at a distance of ${short(seen.distance)} and does not converge; with a decaying rate it would.`
    : `${long} ${arrivedText(seen)}`;
}

// --------------------------------------------------------------------------------------------------------------------

function arrivedText(seen) {
  return seen.arrival === null
    ? `After ${seen.steps} steps, more than 1% of the descent is left.`
    : `At step ${seen.arrival} and later, less than 1% of the descent is left.`;
}

/** Where it came to rest, on surfaces with several minima; and why it could not stay elsewhere. */
function where(kind, { surface, optimizer, lr, momentum }, seen) {
  const { names, minima } = SURFACES[surface];
  if (!names || kind === "diverges" || seen.arrival === null) return "";
  const ended = `It ends in ${names[seen.nearest]}.`;
  if (surface !== "basins") return ended;
  const sharp = sharpness(surface, minima[0]);
  const limit = bound(optimizer, sharp, momentum);
  if (limit === null) return ended;
  const rule = `The sharp one, of curvature ${short(sharp)}, is stable only at rates below ${short(limit)}`;
  if (lr > limit) return `${ended} ${rule}: this one left it.`;
  return seen.nearest === 0 ? `${ended} ${rule}. The wide one is deeper.` : `${ended} ${rule}.`;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
