/**
 * Text that is not on the server yet, kept in the browser's storage from the first keystroke until it is saved or
 * discarded. Each new note has a draft of its own, so that two tabs never overwrite one another's.
 *
 * A draft is `{ title, body, at }`; of an existing note also `etag` and `version`, the state it started from; of a new
 * note also `attempt`, a create that was sent and never answered.
 */

const PREFIX = 'unibody.draft.';

export class Drafts extends EventTarget {
  /** Drafts that the storage refused (full, or forbidden); they live as long as the page. */
  #unstored = new Map();

  constructor() {
    super();
    addEventListener('storage', (event) => {
      if (event.key === null || event.key.startsWith(PREFIX)) this.#changed();
    });
  }

  get(key) {
    return this.#unstored.get(key) ?? read(PREFIX + key);
  }

  /** False when the draft would not survive a reload. */
  set(key, draft) {
    const kept = { ...draft, at: Date.now() };
    try {
      localStorage.setItem(PREFIX + key, JSON.stringify(kept));
      this.#unstored.delete(key);
    } catch {
      this.#unstored.set(key, kept);
    }
    this.#changed();
    return !this.#unstored.has(key);
  }

  remove(key) {
    this.#unstored.delete(key);
    try {
      localStorage.removeItem(PREFIX + key);
    } catch {
      // A storage that may not be touched holds no draft either.
    }
    this.#changed();
  }

  /** Whether leaving the page would lose something. */
  get wouldLose() {
    return this.#unstored.size > 0;
  }

  /** Every draft, the newest first, as `{ key, draft }`. */
  all() {
    const keys = new Set(this.#unstored.keys());
    try {
      for (const name of Object.keys(localStorage)) if (name.startsWith(PREFIX)) keys.add(name.slice(PREFIX.length));
    } catch {
      // As above.
    }
    return [...keys]
      .map((key) => ({ key, draft: this.get(key) }))
      .filter(({ draft }) => draft)
      .sort((one, other) => other.draft.at - one.draft.at);
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

/** The key of an existing note's draft. */
export function keyOf(id) {
  return `note.${id}`;
}

/** The note's id in a key, or null when the key is of a new note. */
export function idIn(key) {
  return key.startsWith('note.') ? key.slice('note.'.length) : null;
}

function read(name) {
  try {
    const draft = JSON.parse(localStorage.getItem(name));
    return typeof draft?.title === 'string' && typeof draft?.body === 'string' ? draft : null;
  } catch {
    return null;
  }
}
