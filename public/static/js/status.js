/**
 * One line at the foot of the page that says what has just happened, to eyes and to screen readers, with at most one
 * thing that can be done about it ("Undo").
 */

/** Milliseconds a line stays; longer when it offers something. Time stands still under the pointer or the focus. */
const STAY = 5_000;
const STAY_WITH_ACTION = 12_000;

export class Status {
  #toast = document.getElementById('toast');
  #line = document.getElementById('status');
  #action = document.getElementById('status-action');
  #dismiss = document.getElementById('status-dismiss');
  #run = null;
  #timer = 0;
  #stay = STAY;

  constructor() {
    this.#action.addEventListener('click', () => this.act());
    this.#dismiss.addEventListener('click', () => this.clear());
    for (const pause of ['pointerenter', 'focusin']) this.#toast.addEventListener(pause, () => clearTimeout(this.#timer));
    for (const go of ['pointerleave', 'focusout']) this.#toast.addEventListener(go, () => this.#start());
  }

  /** `action` is `{ label, run }`; `run` is called at most once. */
  say(text, action = null) {
    this.#run = action?.run ?? null;
    this.#action.textContent = action?.label ?? '';
    this.#action.hidden = !action;
    this.#dismiss.hidden = !action;
    // The same words twice in a row are news only if the line was empty in between.
    this.#line.textContent = '';
    requestAnimationFrame(() => { this.#line.textContent = text; });
    this.#toast.classList.add('is-shown');
    this.#stay = action ? STAY_WITH_ACTION : STAY;
    this.#start();
  }

  /** Does what the line offers, as its button would. False when it offers nothing. */
  act() {
    const run = this.#run;
    if (!run) return false;
    this.clear();
    run();
    return true;
  }

  clear() {
    clearTimeout(this.#timer);
    this.#run = null;
    this.#toast.classList.remove('is-shown');
    // Out of the tab order at once; the words stay while they fade.
    this.#action.hidden = true;
    this.#dismiss.hidden = true;
  }

  /** Takes back a line that is no longer true; an offer stays. */
  hush() {
    if (!this.#run) this.clear();
  }

  #start() {
    clearTimeout(this.#timer);
    if (this.#toast.classList.contains('is-shown')) this.#timer = setTimeout(() => this.clear(), this.#stay);
  }
}
