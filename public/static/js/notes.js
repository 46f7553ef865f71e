/**
 * The notes that the page knows, in the server's order, and how it comes to know them. Says `change` when they change.
 */

export class Notes extends EventTarget {
  #api;
  #all = [];
  #next = null;
  #refreshing = null;
  /** Counts our own changes, to notice one that happened while the list was being read. */
  #changes = 0;

  constructor(api) {
    super();
    this.#api = api;
    /** False until the first page was read. */
    this.isLoaded = false;
  }

  get all() {
    return this.#all;
  }

  /** Whether the server has more notes than the page knows. */
  get hasMore() {
    return this.#next !== null;
  }

  find(id) {
    return this.#all.find((note) => String(note.id) === String(id));
  }

  /** Reads again as much of the list as is known. Calls at the same time share one reading. */
  refresh() {
    this.#refreshing ??= this.#readAgain().finally(() => { this.#refreshing = null; });
    return this.#refreshing;
  }

  async more() {
    if (!this.#next) return;
    const { notes, next } = await this.#api.page(this.#next);
    const known = new Set(this.#all.map((note) => note.id));
    this.#all = [...this.#all, ...notes.filter((note) => !known.has(note.id))];
    this.#next = next;
    this.#changed();
  }

  /** Takes in a note that was created just now: the newest. */
  add(note) {
    this.#all = [note, ...this.#all.filter((known) => known.id !== note.id)];
    this.#changes += 1;
    this.#changed();
  }

  /** Takes in a newer state of a note; one that is not on the pages read so far stays out. */
  replace(note) {
    const index = this.#all.findIndex((known) => known.id === note.id);
    if (index < 0) return;
    this.#all = this.#all.with(index, note);
    this.#changes += 1;
    this.#changed();
  }

  forget(id) {
    this.#all = this.#all.filter((note) => String(note.id) !== String(id));
    this.#changes += 1;
    this.#changed();
  }

  async #readAgain() {
    const before = this.#changes;
    let { notes, next } = await this.#api.page();
    while (next && notes.length < this.#all.length) {
      const page = await this.#api.page(next);
      notes = [...notes, ...page.notes];
      next = page.next;
    }
    // What was read may be older than what we have just written: a new note would vanish, a deleted one come back.
    if (this.#changes !== before) return this.#readAgain();

    this.#all = notes;
    this.#next = next;
    this.isLoaded = true;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}
