// Line charts as the text of SVG elements: a frame with axes, and lines that are clipped to it.

const MARGIN = { left: 46, right: 14, top: 12, bottom: 42 };

/** The size of an element in CSS pixels, which is also the unit of its drawing. */
function sized(svg) {
  const [width, height] = [svg.clientWidth || 320, svg.clientHeight || 200];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  return { width, height };
}

/** A scale from numbers to pixels; numbers outside are held at its ends. */
function scale(domain, range, log) {
  const f = log ? Math.log10 : (x) => x;
  const [a, b] = domain.map(f);
  return (x) => {
    const share = x > 0 || !log ? (f(x) - a) / (b - a) : 0;
    const held = Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : Number(share > 0 || x !== 0);
    return range[0] + held * (range[1] - range[0]);
  };
}

/** Whole powers of ten within a domain. */
function decades([low, high]) {
  const exponents = [];
  for (let k = Math.ceil(Math.log10(low) - 1e-9); k <= Math.log10(high) + 1e-9; k += 1) exponents.push(k);
  return exponents;
}

/**
 * A frame: the scales `x` and `y`, and the markup of grid, axes and labels.
 * `spec`: x and y, each { domain, log, name, ticks }; margins that differ from the usual ones in `margin`.
 */
function frame({ width, height }, spec) {
  const margin = { ...MARGIN, ...spec.margin };
  const [left, right, top, bottom] = [margin.left, width - margin.right, margin.top, height - margin.bottom];
  const x = scale(spec.x.domain, [left, right], spec.x.log);
  const y = scale(spec.y.domain, [bottom, top], spec.y.log);
  const parts = [];
  for (const [at, text] of marks(spec.y)) {
    parts.push(`<path class="grid" d="M${left} ${px(y(at))}H${right}"/>`);
    parts.push(`<text x="${left - 7}" y="${px(y(at) + 4)}" text-anchor="end">${text}</text>`);
  }
  for (const [at, text] of marks(spec.x)) {
    parts.push(`<path class="axis" d="M${px(x(at))} ${bottom}v5"/>`);
    parts.push(`<text x="${px(x(at))}" y="${bottom + 18}" text-anchor="middle">${text}</text>`);
  }
  parts.push(`<path class="axis" d="M${left} ${bottom}H${right}"/>`);
  parts.push(`<text x="${px((left + right) / 2)}" y="${height - 5}" text-anchor="middle">${spec.x.name}</text>`);
  return { x, y, left, right, top, bottom, markup: parts.join("") };
}

function marks(axis) {
  if (axis.ticks) return axis.ticks.map((at) => [at, signed(at)]);
  return decades(axis.domain).map((k) => [10 ** k, tick(k)]);
}

/** A polyline through [x, y] pairs, as the `d` of a path; it leaves the frame and comes back, but does not run along it. */
function through(pairs, { x, y, top, bottom }) {
  const places = pairs.map(([a, b]) => [px(x(a)), px(y(b))]);
  const edge = ([, at]) => (at <= px(top) ? -1 : at >= px(bottom) ? 1 : 0);
  const out = (k) => k > 0 && edge(places[k]) !== 0 && edge(places[k]) === edge(places[k - 1]);
  return places.map(([a, b], k) => `${k === 0 || out(k) ? "M" : "L"}${a} ${b}`).join("");
}

/** Pixels with one decimal: finer is not seen. */
function px(value) {
  return Math.round(value * 10) / 10;
}

/** A cross, for what was lost. */
function cross(x, y, size) {
  return `M${px(x - size)} ${px(y - size)}l${2 * size} ${2 * size}m0 ${-2 * size}l${-2 * size} ${2 * size}`;
}

/** Put markup into an SVG, and say in its title what it shows. */
function show(svg, markup, title) {
  svg.querySelector("g").innerHTML = markup;
  svg.querySelector("title").textContent = title;
}
