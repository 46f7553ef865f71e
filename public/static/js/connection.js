/**
 * The banner that says the API is away, and the patience behind it: it asks again by itself, later each time, never
 * before the moment the server named, and at once when the browser comes back online or the page into view.
 */

/** Seconds before the first try and between the last ones. */
const FIRST_WAIT = 2;
const LONGEST_WAIT = 30;
/** However long a Retry-After asks, a page left open looks again after this many seconds. */
const RETRY_AFTER_CAP = 300;
/** Milliseconds that a recovery must last to count; a flapping server keeps its long waits. */
const STEADY = 20_000;

export class Connection {
  #banner = document.getElementById('banner');
  #text = document.getElementById('banner-text');
  #countdown = document.getElementById('banner-countdown');
  #retryButton = document.getElementById('banner-retry');
  #probe;
  #onRecovery;
  #tries = 0;
  #dueAt = 0;
  #timer = 0;
  #upSince = 0;
  #trying = false;

  /** `probe` asks the API something and throws when it can't; `onRecovery` runs once after it could again. */
  constructor({ probe, onRecovery }) {
    this.#probe = probe;
    this.#onRecovery = onRecovery;
    this.#retryButton.addEventListener('click', () => this.#try());
    addEventListener('online', () => this.isDown && this.#try());
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden && this.isDown && Date.now() >= this.#dueAt) this.#try();
    });
  }

  get isDown() {
    return !this.#banner.hidden;
  }

  /** A call failed and the notes can't be had for now. */
  down(error) {
    const words = wording(error);
    // Writing the same text again would make a screen reader say it again.
    if (this.#text.textContent !== words) this.#text.textContent = words;
    if (!this.isDown && Date.now() - this.#upSince > STEADY) this.#tries = 0;
    this.#banner.hidden = false;
    if (!this.#trying) this.#schedule(error.retryAfter);
  }

  /** A call was answered. */
  up() {
    if (!this.isDown) return;
    clearTimeout(this.#timer);
    this.#upSince = Date.now();
    const hadFocus = this.#banner.contains(document.activeElement);
    this.#banner.hidden = true;
    this.#onRecovery({ hadFocus });
  }

  #schedule(retryAfter) {
    const backOff = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#tries);
    // Some jitter, or every page that lost the same server would come back in the same instant.
    const ours = backOff * (0.85 + 0.3 * Math.random());
    const wait = retryAfter === null ? ours : Math.max(Math.min(retryAfter, RETRY_AFTER_CAP), ours);
    this.#dueAt = Date.now() + wait * 1000;
    this.#tick();
  }

  #tick() {
    clearTimeout(this.#timer);
    const left = Math.ceil((this.#dueAt - Date.now()) / 1000);
    if (left <= 0) {
      this.#try();
      return;
    }
    this.#countdown.textContent = `Next try in ${left} s.`;
    this.#timer = setTimeout(() => this.#tick(), 1000);
  }

  async #try() {
    if (this.#trying) return;
    clearTimeout(this.#timer);
    this.#trying = true;
    this.#tries += 1;
    this.#countdown.textContent = 'Trying…';
    let failure = null;
    try {
      await this.#probe();
    } catch (error) {
      failure = error;
    }
    this.#trying = false;
    if (failure) this.down(failure);
    else this.up();
  }
}

function wording(error) {
  if (error.status === 0) return 'The server can’t be reached. What you write is kept in this browser.';
  if (error.isOutage) return 'The notes are unavailable at the moment. What you write is kept in this browser.';
  return `The notes could not be loaded: ${error.message}`;
}
