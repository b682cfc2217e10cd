// Numbers as a reader takes them: few digits, and powers of ten where zeros would have to be counted.

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function power(exponent) {
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[digit]).join("");
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

/** `digits` significant digits, without zeros that say nothing. */
function short(value, digits = 2) {
  if (!Number.isFinite(value)) return "∞";
  if (value === 0) return "0";
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  if (exponent < -4 || exponent > 5) {
    const rounded = Number(value.toPrecision(digits));
    const own = Math.floor(Math.log10(Math.abs(rounded)));
    return `${signed(Number((rounded / 10 ** own).toPrecision(digits)))} × ${power(own)}`;
  }
  return signed(Number(value.toPrecision(digits)).toFixed(Math.max(0, digits - 1 - exponent)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, ""));
}

/** A true minus sign, which is as wide as a plus. */
function signed(text) {
  return String(text).replace("-", "−");
}

/** A whole number of steps, rounded to what it is known to. */
function count(value) {
  const rounded = value < 1000 ? Math.round(value) : Number(value.toPrecision(2));
  return rounded.toLocaleString("en-US");
}

/** The label of a tick on a logarithmic axis. */
function tick(exponent) {
  return exponent >= -3 && exponent <= 2 ? String(Number((10 ** exponent).toPrecision(1))) : power(exponent);
}
