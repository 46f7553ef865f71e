// The points of the last minutes, whoever told them: those of a server that is gone stay until they are too old.

export class History {
  /** Oldest first; the time of each, `at`, in milliseconds on the server's clock. */
  points = [];
  /** How far back, in milliseconds. */
  reach = 600_000;
  /** Between two points, in milliseconds. */
  every = 2_000;
  #heard = performance.now();

  add({ points, every, keeps }) {
    this.every = every * 1000;
    this.reach = keeps * 1000;
    if (points.length === 0) return;
    // A page that comes back hears again what it knows.
    const first = points[0].at;
    this.points = [...this.points.filter(({ at }) => at < first), ...points];
    this.#heard = performance.now();
    const oldest = this.now - this.reach;
    this.points = this.points.filter(({ at }) => at >= oldest);
  }

  /** What time it is for the server: the last point's, and what has passed since, so that silence shows as a gap. */
  get now() {
    const last = this.points.at(-1)?.at ?? Date.now();
    const silent = performance.now() - this.#heard;
    return silent > 2 * this.every ? last + silent : last;
  }

  /** Runs of points without a gap between them. */
  get runs() {
    const runs = [];
    let before = -Infinity;
    for (const point of this.points) {
      if (point.at - before > 2.5 * this.every) runs.push([]);
      runs.at(-1).push(point);
      before = point.at;
    }
    return runs;
  }

  /** The point nearest to a time, unless there is a gap. */
  near(time) {
    let best = null;
    for (const point of this.points) {
      const away = Math.abs(point.at - time);
      if (away <= 1.5 * this.every && (best === null || away < Math.abs(best.at - time))) best = point;
    }
    return best;
  }
}
