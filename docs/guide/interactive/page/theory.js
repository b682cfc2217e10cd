// What theory says of a quadratic: there each direction of curvature λ is a linear recurrence of its own.

/** The rate above which a direction of curvature λ grows; null where the optimizer scales its gradient by itself. */
function bound(optimizer, curvature, momentum) {
  if (optimizer === "sgd") return 2 / curvature;
  if (optimizer === "momentum") return (2 + 2 * momentum) / curvature; // Polyak, 1964
  if (optimizer === "nesterov") return (2 + 2 * momentum) / ((1 + 2 * momentum) * curvature);
  return null;
}

/** The bound in symbols. */
function boundText(optimizer, momentum, symbol = "L") {
  if (optimizer === "sgd" || momentum === 0) return `2/${symbol}`;
  if (optimizer === "momentum") return `(2 + 2β)/${symbol}`;
  return `(2 + 2β)/((1 + 2β)${symbol})`;
}

/** By how much a step multiplies the distance in the long run: the larger root of z² − trace z + determinant. */
function contraction(optimizer, lr, momentum, curvature) {
  const kept = 1 - lr * curvature;
  if (optimizer === "sgd") return Math.abs(kept);
  const trace = optimizer === "momentum" ? kept + momentum : (1 + momentum) * kept;
  const determinant = optimizer === "momentum" ? momentum : momentum * kept;
  const inside = (trace * trace) / 4 - determinant;
  if (inside < 0) return Math.sqrt(determinant);
  return Math.abs(trace) / 2 + Math.sqrt(inside);
}

/** The slowest of all directions: above 1 the path grows without end. */
function slowest(optimizer, lr, momentum, curvatures) {
  return Math.max(...curvatures.map((curvature) => contraction(optimizer, lr, momentum, curvature)));
}

/** The rate at which the slowest direction is as fast as it can be, found on a fine grid below the bound. */
function fastest(optimizer, momentum, curvatures) {
  const end = bound(optimizer, Math.max(...curvatures), momentum);
  let best = { lr: 0, left: 1 };
  for (let k = 1; k < 4000; k += 1) {
    const lr = (end * k) / 4000;
    const left = slowest(optimizer, lr, momentum, curvatures);
    if (left < best.left - 1e-9) best = { lr, left };
  }
  return best;
}

/** The mean loss at which gradient noise of variance noise² in each direction holds a path; for SGD and heavy ball. */
function noiseFloor(optimizer, lr, momentum, curvatures, noise) {
  const beta = optimizer === "sgd" ? 0 : momentum;
  if (optimizer !== "sgd" && optimizer !== "momentum") return null;
  const shares = curvatures.map(
    (curvature) => (lr * noise * noise * (1 + beta)) / (2 * (1 - beta) * (2 * (1 + beta) - lr * curvature)),
  );
  return shares.reduce((sum, share) => sum + share, 0);
}
