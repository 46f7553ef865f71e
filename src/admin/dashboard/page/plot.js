// One plot: its figures of now, lines or stacked areas of the last minutes, and the same as a table.

import { drawn, element, say, show } from "./elements.js";
import { clock } from "./words.js";

const HEIGHT = 132;
const EDGES = { top: 8, right: 1, bottom: 20, left: 50 };
/** How far a page key goes, and how much a row of the table covers, in milliseconds. */
const MINUTE = 60_000;

export class Plot {
  /**
   * `about` has `title`, `note`, `headline(status)`, `text(value)`, `scale` ("linear" or "log"), `least` (the smallest
   * upper end), `stacked`, `fold` ("mean" or "highest" of a minute) and `series`: each with a `name`, a `tone`, `at(point)` and
   * `now(status)`; null is "no value". `isThere(status)` says no where there is nothing to plot.
   */
  constructor(about, cursor) {
    this.about = about;
    this.cursor = cursor;
    this.svg = drawn("svg", { "aria-hidden": "true", focusable: "false", height: HEIGHT });
    this.reach = element("div", {
      class: "reach", role: "slider", tabindex: 0, "aria-label": `${about.title}, through the last ten minutes`,
      "aria-valuemin": -600, "aria-valuemax": 0, "aria-valuenow": 0,
    }, this.svg);
    this.headline = element("p", { class: "headline" });
    this.note = element("p", { class: "plot-note" }, about.note);
    this.values = about.series.map(() => element("dd"));
    this.table = element("table");
    this.details = element("details", { class: "behind" }, element("summary", {}, "Table"), this.table);
    this.root = element("article", { class: "plot", "aria-label": about.title },
      element("header", {}, element("h2", {}, about.title), this.headline),
      this.note,
      element("dl", { class: "legend" }, about.series.map(({ name, tone }, index) =>
        element("div", {}, element("dt", { class: tone }, name), this.values[index]))),
      this.reach, this.details);
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.reach);
  }

  /** Draws what `history` and `status` say. */
  draw(history = this.history, status = this.status) {
    if (!history || !status) return;
    Object.assign(this, { history, status });
    this.root.hidden = this.about.isThere?.(status) === false;
    if (this.root.hidden) return;
    this.#sayValues();
    const width = this.reach.clientWidth;
    if (width > 0) this.#paint(width);
    if (this.details.open) this.#tabulate();
  }

  #sayValues() {
    const { about, history, status, cursor } = this;
    const point = cursor.time === null ? null : history.near(cursor.time);
    const value = cursor.time === null ? ({ now }) => now(status) : ({ at }) => (point ? at(point) : null);
    const words = about.series.map((series) => about.text(value(series)));
    words.forEach((text, index) => say(this.values[index], text));
    say(this.headline, about.headline(status));
    say(this.note, cursor.time === null ? about.note : `at ${clock(cursor.time)}`);
    this.root.classList.toggle("is-past", cursor.time !== null);
    const told = point || cursor.time === null
      ? about.series.map(({ name }, index) => `${name} ${words[index]}`).join(", ") : "no figures";
    const time = cursor.time ?? history.now;
    this.reach.setAttribute("aria-valuenow", Math.round((time - history.now) / 1000));
    this.reach.setAttribute("aria-valuetext", `${cursor.time === null ? "Now" : clock(time)}: ${told}`);
  }

  #paint(width) {
    const { about, history, cursor } = this;
    const runs = history.runs;
    const bottom = HEIGHT - EDGES.bottom;
    const inner = width - EDGES.left - EDGES.right;
    const now = history.now;
    const x = (time) => EDGES.left + inner * (1 - (now - time) / history.reach);
    const { y, ticks } = this.#scale(bottom);

    const parts = ticks.map((tick) => [
      drawn("line", { class: "grid", x1: EDGES.left, x2: width - EDGES.right, y1: crisp(y(tick)), y2: crisp(y(tick)) }),
      drawn("text", { class: "tick", x: EDGES.left - 8, y: y(tick) + 4, "text-anchor": "end" }, about.text(tick).replace(/\.0+\b/, "")),
    ]);
    const times = [[-600, "10 min ago", "start"], [-300, "5 min ago", "middle"], [0, "now", "end"]];
    for (const [seconds, words, anchor] of times) {
      parts.push(drawn("text", { class: "tick", x: x(now + seconds * 1000), y: HEIGHT - 4, "text-anchor": anchor }, words));
    }
    const lines = about.stacked ? this.#areas(runs, x, y) : this.#lines(runs, x, y);
    // A time at which nobody spoke is no zero.
    const silence = now - (history.points.at(-1)?.at ?? now);
    if (silence > 2.5 * history.every) {
      const from = x(now - silence);
      lines.unshift(drawn("rect", { class: "silence", x: from, y: EDGES.top, width: Math.max(0, width - EDGES.right - from), height: bottom - EDGES.top }));
    }
    if (cursor.time !== null) {
      const at = crisp(x(cursor.time));
      lines.push(drawn("line", { class: "cursor", x1: at, x2: at, y1: EDGES.top, y2: bottom }));
    }
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.setAttribute("width", width);
    this.svg.replaceChildren(...parts.flat(), ...lines);
  }

  /** From a value to a height, and the values that get a line. */
  #scale(bottom) {
    const { about, history } = this;
    const height = bottom - EDGES.top;
    let [lowest, highest] = [Infinity, 0];
    for (const point of history.points) {
      const values = about.series.map(({ at }) => at(point)).filter((value) => value !== null);
      if (values.length === 0) continue;
      highest = Math.max(highest, about.stacked ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values));
      lowest = Math.min(lowest, ...values.filter((value) => value > 0));
    }
    if (about.scale === "log") {
      const top = Math.ceil(Math.log10(Math.max(highest, about.least)) - 0.001);
      const low = Math.min(Math.floor(Math.log10(Math.min(lowest, about.least))), top - 2);
      const y = (value) => bottom - (height * (Math.log10(Math.max(value, 10 ** low)) - low)) / (top - low);
      const ticks = Array.from({ length: top - low + 1 }, (_, index) => 10 ** (low + index));
      return { y, ticks: ticks.length > 4 ? ticks.filter((_, index) => (ticks.length - 1 - index) % 2 === 0) : ticks };
    }
    const top = about.top?.(Math.max(highest, about.least)) ?? round(Math.max(highest, about.least));
    return { y: (value) => bottom - (height * value) / top, ticks: [0, top / 2, top] };
  }

  #lines(runs, x, y) {
    return this.about.series.map(({ at, tone }) => {
      const path = runs.map((run) => {
        // A value that is missing lifts the pen.
        let pen = "M";
        return run.map((point) => {
          const value = at(point);
          const part = value === null ? "" : `${pen}${near(x(point.at))} ${near(y(value))}`;
          pen = value === null ? "M" : "L";
          return part;
        }).join("");
      }).join("");
      return drawn("path", { class: `line ${tone}`, d: path });
    });
  }

  #areas(runs, x, y) {
    const { series } = this.about;
    return series.map(({ tone }, index) => {
      const below = (point) => series.slice(0, index).reduce((sum, { at }) => sum + (at(point) ?? 0), 0);
      const path = runs.map((run) => {
        const upper = run.map((point) => `${near(x(point.at))} ${near(y(below(point) + (series[index].at(point) ?? 0)))}`);
        const lower = run.map((point) => `${near(x(point.at))} ${near(y(below(point)))}`).reverse();
        return `M${[...upper, ...lower].join("L")}Z`;
      }).join("");
      return drawn("path", { class: `area ${tone}`, d: path });
    });
  }

  /** One row a minute, the newest first. */
  #tabulate() {
    const { about, history } = this;
    const rows = [];
    for (let minute = Math.floor(history.now / MINUTE); rows.length < 10; minute -= 1) {
      const points = history.points.filter(({ at }) => Math.floor(at / MINUTE) === minute);
      const cells = about.series.map(({ at }) => {
        const values = points.map(at).filter((value) => value !== null);
        if (values.length === 0) return "–";
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        return about.text(about.fold === "mean" ? mean : Math.max(...values));
      });
      const time = clock(minute * MINUTE).slice(0, 5);
      rows.push(element("tr", {}, element("th", { scope: "row" }, time), cells.map((cell) => element("td", {}, cell))));
    }
    show(this.table,
      element("caption", {}, `${about.title}: the ${about.fold} of each minute`),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Minute"),
        about.series.map(({ name }) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, rows));
  }

  #listen() {
    const { reach, cursor } = this;
    this.details.addEventListener("toggle", () => this.draw());
    const point = (event) => {
      const { left, width } = reach.getBoundingClientRect();
      const inner = width - EDGES.left - EDGES.right;
      const part = Math.min(1, Math.max(0, (event.clientX - left - EDGES.left) / inner));
      cursor.move(this.history.now - (1 - part) * this.history.reach);
    };
    reach.addEventListener("pointerdown", point);
    reach.addEventListener("pointermove", point);
    for (const end of ["pointerleave", "pointercancel"]) reach.addEventListener(end, () => cursor.move(null));
    reach.addEventListener("blur", () => cursor.move(null));
    reach.addEventListener("keydown", (event) => {
      const { now, reach: far, every } = this.history;
      const at = cursor.time ?? now;
      const to = {
        ArrowLeft: at - every, ArrowDown: at - every, ArrowRight: at + every, ArrowUp: at + every,
        PageDown: at - MINUTE, PageUp: at + MINUTE, Home: now - far, End: null, Escape: null,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      cursor.move(to === null || to >= now ? null : Math.max(to, now - far));
    });
  }
}

/** The next number that halves well. */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.999) * power;
}

/** A line of one pixel lies between two. */
const crisp = (value) => Math.round(value) + 0.5;
const near = (value) => Math.round(value * 10) / 10;
