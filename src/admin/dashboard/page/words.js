// Figures and times as people read them.

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

/** 1,234 */
export const count = (number) => whole.format(number);

/** Per second: more digits where there is less. */
export function rate(perSecond) {
  if (perSecond === 0) return "0";
  if (perSecond < 0.095) return perSecond.toFixed(2);
  return perSecond < 9.95 ? perSecond.toFixed(1) : count(perSecond);
}

/** Seconds as the unit in which they are two or three digits. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const milliseconds = seconds * 1000;
  if (milliseconds < 0.995) return `${count(seconds * 1e6)} µs`;
  if (milliseconds < 9.95) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 999.5) return `${count(milliseconds)} ms`;
  return seconds < 99.5 ? `${seconds.toFixed(seconds < 9.95 ? 2 : 1)} s` : `${count(seconds)} s`;
}

/** Bytes in binary units. */
export function bytes(number) {
  if (number === null || number === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = number < 1 ? 0 : Math.min(Math.floor(Math.log2(number) / 10), units.length - 1);
  const scaled = number / 1024 ** power;
  return `${scaled < 9.95 && power > 0 ? scaled.toFixed(1) : count(scaled)} ${units[power]}`;
}

/** A part of a whole; what is not nothing is never shown as nothing. */
export function share(part, all) {
  if (!all) return "–";
  const percent = (part / all) * 100;
  if (percent === 0) return "0 %";
  if (percent < 0.01) return "< 0.01 %";
  if (percent < 1) return `${percent.toFixed(2)} %`;
  return `${percent < 9.95 ? percent.toFixed(1) : count(percent)} %`;
}

/** A time of the day on the reader's clock. */
export function clock(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString("en-GB");
}

/** A moment in full, as the log writes it, for who looks for it there. */
export const utc = (milliseconds) => `${new Date(milliseconds).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** How long, in its two largest units. */
export function span(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = parts.findIndex(([, length]) => seconds >= length);
  if (first < 0) return "0 s";
  const [[unit, length], next] = [parts[first], parts[first + 1]];
  const words = `${Math.floor(seconds / length)} ${unit}`;
  const rest = next ? Math.floor((seconds % length) / next[1]) : 0;
  return rest ? `${words} ${rest} ${next[0]}` : words;
}

/** A day, with the year only where it is another. */
export function day(moment) {
  const date = new Date(moment);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year });
}
