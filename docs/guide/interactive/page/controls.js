// Small parts that both panels use: choices as radio buttons, and scales of sliders.

const byId = (id) => document.getElementById(id);

/** Fill a fieldset with radio buttons; `options` is a list of [value, label markup]; returns a setter. */
function radios(place, name, options, chosen) {
  place.innerHTML = options
    .map(([value, label]) => `<label><input type="radio" name="${name}" value="${value}"><span>${label}</span></label>`)
    .join("");
  place.addEventListener("change", (event) => chosen(event.target.value));
  return (value) => {
    for (const input of place.querySelectorAll("input")) input.checked = input.value === String(value);
  };
}

const LR_STOPS = 400; // of a slider, over the whole range of a surface

function lrAt(stop, [low, high]) {
  return low * (high / low) ** (stop / LR_STOPS);
}

function stopOf(lr, [low, high]) {
  return Math.round((LR_STOPS * Math.log(lr / low)) / Math.log(high / low));
}

/** Momentum of a slider from 0 to 100: as fine near 1 as its effect, 1/(1 − β), asks; the middle is 0.9. */
function momentumAt(stop) {
  return 1 - 10 ** (-stop / 50);
}

function momentumStop(momentum) {
  return Math.round(-50 * Math.log10(1 - momentum));
}

/** Where the middle of a slider's thumb lies, in pixels, at a share of the way. */
function thumbAt(share, width, thumb = 24) {
  return thumb / 2 + share * (width - thumb);
}

/** The words of the address behind "#", as an object: a setting can be linked to. */
function linked() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/** Write a setting into the address, without a new entry in the history. */
function link(words) {
  try {
    history.replaceState(null, "", `#${new URLSearchParams({ ...linked(), ...words })}`);
  } catch {
    // Some browsers forbid it for pages from a disk; nothing else depends on it.
  }
}

/** A number from the address, or `otherwise` where it is none or out of bounds. */
function numberFrom(text, otherwise, [low, high]) {
  const value = Number(text);
  return text !== undefined && value >= low && value <= high ? value : otherwise;
}
