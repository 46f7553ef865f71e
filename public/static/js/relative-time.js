/**
 * Times as people say them ("3 hours ago"), which keep themselves true while the page is open. The exact time is in
 * `datetime` and in the tooltip.
 */

const UNITS = [['year', 31_557_600], ['month', 2_629_800], ['week', 604_800], ['day', 86_400], ['hour', 3_600], ['minute', 60]];
const REFRESH = 10_000;

// In the page's language, not the browser's: "vor 3 Stunden" amid English reads like a mistake.
const language = document.documentElement.lang || 'en';
const spoken = {
  long: new Intl.RelativeTimeFormat(language, { numeric: 'auto', style: 'long' }),
  short: new Intl.RelativeTimeFormat(language, { numeric: 'auto', style: 'narrow' }),
};
const exact = new Intl.DateTimeFormat(language, { dateStyle: 'full', timeStyle: 'short' });

/** How long ago `moment` was. A future one (clocks differ) is now. */
export function ago(moment, now = Date.now(), style = 'long') {
  const seconds = Math.max(0, (now - moment) / 1000);
  for (const [unit, length] of UNITS) {
    if (seconds >= length) return spoken[style].format(-Math.floor(seconds / length), unit);
  }
  return style === 'long' ? 'just now' : 'now';
}

/** Makes `element` (a `<time>`) show `iso`, and keep showing how long ago that is. */
export function show(element, iso, style = 'long') {
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) {
    element.removeAttribute('datetime');
    element.textContent = '';
    return;
  }
  element.dateTime = moment.toISOString();
  element.title = exact.format(moment);
  element.dataset.ago = style;
  refresh(element);
}

/** Starts the clock for every time on the page. */
export function keepTrue() {
  const all = () => document.querySelectorAll('time[data-ago]').forEach(refresh);
  setInterval(() => document.hidden || all(), REFRESH);
  document.addEventListener('visibilitychange', () => document.hidden || all());
}

function refresh(element) {
  const words = ago(new Date(element.dateTime), Date.now(), element.dataset.ago);
  if (element.textContent !== words) element.textContent = words;
}
