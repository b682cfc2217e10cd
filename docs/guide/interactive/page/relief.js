// The ground as on a map of the sea: bands of equal loss, deeper where the loss is lower, with a line between bands.

const BANDS = 16;

/** What part of a surface a sheet of some size shows: pixels of its points, and how to get back. */
function view(surface, width, height) {
  const { center, reach } = SURFACES[surface];
  const unit = width / (2 * reach); // pixels
  return {
    to: ([x, y]) => [width / 2 + (x - center[0]) * unit, height / 2 - (y - center[1]) * unit],
    from: (column, row) => [center[0] + (column - width / 2) / unit, center[1] - (row - height / 2) / unit],
  };
}

/** Draw a surface onto a canvas, in its CSS size times `density`. */
function relief(canvas, surface, colours, density) {
  const width = Math.max(1, Math.round(canvas.clientWidth * density));
  const height = Math.max(1, Math.round(canvas.clientHeight * density));
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const heights = levels(surface, width, height);
  const stride = width + 1;
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const at = row * stride + column;
      const value = heights[at];
      const slope = Math.hypot(heights[at + 1] - value, heights[at + stride] - value);
      const share = line(value, slope, density);
      const band = Math.min(1, (Math.floor(value) + 0.5) / BANDS);
      for (let channel = 0; channel < 3; channel += 1) {
        const ground = colours.deep[channel] + (colours.high[channel] - colours.deep[channel]) * band;
        image.data[4 * (row * width + column) + channel] = ground + (colours.contour[channel] - ground) * share;
      }
      image.data[4 * (row * width + column) + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

/** The band of each pixel, as a number that is whole on a line; a row and a column more than the picture has. */
function levels(surface, width, height) {
  const { loss, band } = SURFACES[surface];
  const { from } = view(surface, width, height);
  const heights = new Float32Array((width + 1) * (height + 1));
  let at = 0;
  for (let row = 0; row <= height; row += 1) {
    for (let column = 0; column <= width; column += 1) {
      heights[at] = BANDS * band(loss(...from(column, row)));
      at += 1;
    }
  }
  return heights;
}

/** How much of a pixel a line between two bands covers: its distance from the next whole number, in pixels. */
function line(value, slope, density) {
  const distance = Math.abs(value - Math.round(value)) / Math.max(slope, 1e-6);
  return 0.55 * Math.min(1, Math.max(0, 0.5 + 0.45 * density - distance));
}

/** "#rrggbb" of a custom property as three numbers. */
function colourOf(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}

function reliefColours() {
  return { deep: colourOf("--deep"), high: colourOf("--high"), contour: colourOf("--contour") };
}
