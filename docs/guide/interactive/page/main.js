// Opens both panels, redraws them for another width or other colours, and shows tests the parts that can be computed.

window.lab = { path, judge, bound, contraction, fastest, noiseFloor, sharpness, surfaces: SURFACES, optimizers: Object.keys(OPTIMIZERS) };

const words = linked();
openGround(words);
openReal(words);

function redraw() {
  redrawGround();
  drawStrip();
  drawTrail();
  drawFall();
  drawCurves();
  drawFinals();
}

let due = 0;
let widthBefore = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  const width = document.documentElement.clientWidth;
  if (width === widthBefore) return; // phones resize when their bars come and go
  widthBefore = width;
  cancelAnimationFrame(due);
  due = requestAnimationFrame(redraw);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
if (!location.hash.includes("still")) play();
