// Four surfaces of two parameters, with gradient, Hessian, and what a picture of each shows.

const TILT = (25 * Math.PI) / 180; // so that no parameter is an axis of the valley: adaptive methods see no gift
const [COS, SIN] = [Math.cos(TILT), Math.sin(TILT)];
const STEEP = 10; // the largest curvature L of the valley
const FLAT = 0.25; // and the smallest

// Second derivatives of ½ (FLAT u² + STEEP w²), with u along the valley and w across it.
const VALLEY = [
  FLAT * COS * COS + STEEP * SIN * SIN,
  (FLAT - STEEP) * COS * SIN,
  FLAT * SIN * SIN + STEEP * COS * COS,
];

const WELLS = [
  { x: -1.15, y: 0.1, depth: 1.0, width: 0.22 },
  { x: 1.0, y: -0.15, depth: 1.35, width: 0.85 },
];
const BOWL = 0.12;

function wells(x, y) {
  return WELLS.map((well) => {
    const [dx, dy] = [x - well.x, y - well.y];
    const square = well.width * well.width;
    return { dx, dy, square, height: well.depth * Math.exp(-(dx * dx + dy * dy) / (2 * square)) };
  });
}

const SURFACES = {
  valley: {
    title: "Narrow valley",
    about: "A quadratic, 40 times steeper across the valley than along it: the case that theory covers exactly.",
    quadratic: [FLAT, STEEP],
    start: [-2.05, 0.42],
    center: [0, 0],
    reach: 2.9,
    rates: [1e-3, 3],
    least: 0,
    minima: [[0, 0]],
    band: (loss) => Math.log1p(loss / 0.02) / Math.log1p(30 / 0.02),
    loss: (x, y) => 0.5 * (VALLEY[0] * x * x + VALLEY[2] * y * y) + VALLEY[1] * x * y,
    gradient: (x, y) => [VALLEY[0] * x + VALLEY[1] * y, VALLEY[1] * x + VALLEY[2] * y],
    hessian: () => VALLEY,
  },
  bend: {
    title: "Bend",
    about: "Rosenbrock's valley, flattened: it bends, so the accumulated momentum points the wrong way.",
    start: [-1.5, 1.6],
    center: [0, 0.95],
    reach: 2.3,
    rates: [1e-4, 3],
    least: 0,
    minima: [[1, 1]],
    band: (loss) => Math.log1p(loss / 0.05) / Math.log1p(60 / 0.05),
    loss: (x, y) => 0.5 * (1 - x) ** 2 + 5 * (y - x * x) ** 2,
    gradient: (x, y) => [x - 1 - 20 * x * (y - x * x), 10 * (y - x * x)],
    hessian: (x, y) => [1 - 20 * (y - 3 * x * x), -20 * x, 10],
  },
  basins: {
    title: "Two minima",
    about: "A sharp minimum and a wide, deeper one. It starts next to the sharp one.",
    start: [-1.5, 0.42],
    center: [0.1, 0],
    reach: 2.5,
    rates: [1e-3, 30],
    least: -1.2923567659307413,
    minima: [[-1.1354905169739995, 0.09850728188193342], [0.9395063680429693, -0.14092595520644566]],
    names: ["the sharp minimum", "the wide minimum"],
    marked: ["sharp", "wide"],
    band: (loss) => Math.max(0, (loss + 1.36) / 2.7) ** 0.8,
    loss: (x, y) => wells(x, y).reduce((sum, well) => sum - well.height, 0.5 * BOWL * (x * x + y * y)),
    gradient: (x, y) =>
      wells(x, y).reduce(
        ([gx, gy], { dx, dy, square, height }) => [gx + (height * dx) / square, gy + (height * dy) / square],
        [BOWL * x, BOWL * y],
      ),
    hessian: (x, y) =>
      wells(x, y).reduce(
        ([xx, xy, yy], { dx, dy, square, height }) => [
          xx + (height / square) * (1 - (dx * dx) / square),
          xy - (height * dx * dy) / (square * square),
          yy + (height / square) * (1 - (dy * dy) / square),
        ],
        [BOWL, 0, BOWL],
      ),
  },
  saddle: {
    title: "Saddle",
    about: "Between two minima the surface is almost flat. It starts very close to the ridge.",
    start: [0.02, 1.45],
    center: [0, 0.1],
    reach: 2.2,
    rates: [1e-3, 10],
    least: -0.25,
    minima: [[-1, 0], [1, 0]],
    names: ["the left minimum", "the right minimum"],
    band: (loss) => Math.max(0, (loss + 0.255) / 6) ** 0.45,
    loss: (x, y) => 0.25 * x ** 4 - 0.5 * x * x + y * y,
    gradient: (x, y) => [x ** 3 - x, 2 * y],
    hessian: (x) => [3 * x * x - 1, 0, 2],
  },
};

/** The largest curvature at a point: the largest eigenvalue of the Hessian. */
function sharpness(surface, point) {
  const [xx, xy, yy] = SURFACES[surface].hessian(...point);
  return (xx + yy) / 2 + Math.hypot((xx - yy) / 2, xy);
}
