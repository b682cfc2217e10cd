// Six optimizers, step for step as torch.optim makes them, in double precision; a test holds them against it.
// Each is a function (settings) -> update(point, gradient), which changes the point in place and keeps its own state.

const EPS = 1e-8; // torch's, of RMSprop and Adam
const ADAGRAD_EPS = 1e-10;
const RMS_DECAY = 0.99; // torch calls it alpha
const BETA2 = 0.999;

const zeros = (point) => point.map(() => 0);

const OPTIMIZERS = {
  sgd: {
    title: "SGD",
    rule: "θ ← θ − η g",
    make: ({ lr }) => (point, gradient) => {
      gradient.forEach((g, i) => { point[i] -= lr * g; });
    },
  },
  momentum: {
    title: "Momentum",
    rule: "v ← β v + g,  θ ← θ − η v",
    symbol: "β",
    make: ({ lr, momentum }) => {
      let velocity = null;
      return (point, gradient) => {
        velocity ??= zeros(point);
        gradient.forEach((g, i) => {
          velocity[i] = momentum * velocity[i] + g;
          point[i] -= lr * velocity[i];
        });
      };
    },
  },
  nesterov: {
    title: "Nesterov",
    rule: "v ← β v + g,  θ ← θ − η (g + β v)",
    symbol: "β",
    make: ({ lr, momentum }) => {
      let velocity = null;
      return (point, gradient) => {
        velocity ??= zeros(point);
        gradient.forEach((g, i) => {
          velocity[i] = momentum * velocity[i] + g;
          point[i] -= lr * (g + momentum * velocity[i]);
        });
      };
    },
  },
  adagrad: {
    title: "AdaGrad",
    rule: "s ← s + g²,  θ ← θ − η g / √s",
    make: ({ lr }) => {
      let sum = null;
      return (point, gradient) => {
        sum ??= zeros(point);
        gradient.forEach((g, i) => {
          sum[i] += g * g;
          point[i] -= (lr * g) / (Math.sqrt(sum[i]) + ADAGRAD_EPS);
        });
      };
    },
  },
  rmsprop: {
    title: "RMSprop",
    rule: "s ← 0.99 s + 0.01 g²,  v ← β v + g / √s,  θ ← θ − η v",
    symbol: "β",
    make: ({ lr, momentum }) => {
      let square = null;
      let velocity = null;
      return (point, gradient) => {
        square ??= zeros(point);
        velocity ??= zeros(point);
        gradient.forEach((g, i) => {
          square[i] = RMS_DECAY * square[i] + (1 - RMS_DECAY) * g * g;
          velocity[i] = momentum * velocity[i] + g / (Math.sqrt(square[i]) + EPS);
          point[i] -= lr * velocity[i];
        });
      };
    },
  },
  adam: {
    title: "Adam",
    rule: "m, s: running means of g and g²;  θ ← θ − η m̂ / √ŝ",
    symbol: "β₁",
    make: ({ lr, momentum }) => {
      let first = null;
      let second = null;
      let count = 0;
      return (point, gradient) => {
        first ??= zeros(point);
        second ??= zeros(point);
        count += 1;
        const size = lr / (1 - momentum ** count);
        const root = Math.sqrt(1 - BETA2 ** count);
        gradient.forEach((g, i) => {
          first[i] += (1 - momentum) * (g - first[i]);
          second[i] = BETA2 * second[i] + (1 - BETA2) * g * g;
          point[i] -= (size * first[i]) / (Math.sqrt(second[i]) / root + EPS);
        });
      };
    },
  },
};

/** Standard normal numbers that a seed fixes: mulberry32, then Box and Muller's transform. */
function normals(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/**
 * The path of an optimizer on a surface: its points, the loss at each, and the step at which it was lost (or null).
 * A path ends where it leaves the numbers or is further away than any picture shows.
 */
function path({ surface, optimizer, lr, momentum = 0, steps = 100, noise = 0, seed = 1, start = null }) {
  const ground = SURFACES[surface];
  const update = OPTIMIZERS[optimizer].make({ lr, momentum });
  const draw = noise > 0 ? normals(seed) : null;
  const point = [...(start ?? ground.start)];
  const points = [[...point]];
  const losses = [ground.loss(...point)];
  for (let step = 1; step <= steps; step += 1) {
    const gradient = ground.gradient(...point);
    if (draw) gradient.forEach((g, i) => { gradient[i] = g + noise * draw(); });
    update(point, gradient);
    const loss = ground.loss(...point);
    points.push([...point]);
    losses.push(loss);
    if (!(loss < FAR * (losses[0] - ground.least + 1))) return { points, losses, lost: step };
  }
  return { points, losses, lost: null };
}

const FAR = 1e6; // times the loss at the start: nothing comes back from there
