/**
 * Deleting a note, and taking it back. The server deletes at once, so what the page says is true; undoing stores the
 * note again, as a new one.
 */

import { idIn, keyOf } from './drafts.js';
import { shownTitle, uuid } from './text.js';

export class Deletion {
  #api;
  #notes;
  #drafts;
  #list;
  #status;
  #editor;

  constructor({ api, notes, drafts, list, status, editor }) {
    this.#api = api;
    this.#notes = notes;
    this.#drafts = drafts;
    this.#list = list;
    this.#status = status;
    this.#editor = editor;
  }

  async remove(key) {
    const id = idIn(key);
    if (this.#editor.key === key) this.#editor.flush();
    this.#list.busy(key, true);
    let note;
    try {
      note = await this.#removeAsItIs(id);
    } catch (error) {
      this.#list.busy(key, false);
      this.#status.say(error.isOutage ? 'Not deleted: the server doesn’t answer.' : `Not deleted: ${error.message}`);
      return;
    }

    const known = note ?? this.#notes.find(id);
    const draft = this.#drafts.get(key);
    this.#moveOn(key);
    this.#drafts.remove(key);
    this.#notes.forget(id);
    const undo = { label: 'Undo', run: () => this.#restore(known, draft) };
    this.#status.say(`Deleted “${shown(known)}”.`, known ? undo : null);
  }

  /** Deletes exactly what it returns (null: it was gone already), so that undoing brings back the last word. */
  async #removeAsItIs(id) {
    for (let tries = 3; ; tries -= 1) {
      try {
        const { note, etag } = await this.#api.note(id);
        await this.#api.remove(id, etag);
        return note;
      } catch (error) {
        if (error.status === 404) return null;
        if (error.status !== 412 || tries === 1) throw error;
      }
    }
  }

  /** Closes the editor if it's open on this note, and takes the focus to the next one if it would be lost. */
  #moveOn(key) {
    const isOpen = this.#editor.key === key;
    const focused = document.activeElement;
    const losesFocus = !focused || focused === document.body || (isOpen && this.#editor.hasFocus) || focused.closest('li')?.dataset.key === key;
    const neighbour = this.#list.neighbour(key);
    if (isOpen) this.#editor.drop();
    if (losesFocus && !(neighbour && this.#list.focus(neighbour))) document.getElementById('new-note').focus();
  }

  async #restore(deleted, draft) {
    const attempt = { title: deleted.title, body: deleted.body, key: uuid() };
    try {
      const { note, etag } = await this.#api.create(attempt, attempt.key);
      if (draft) this.#drafts.set(keyOf(note.id), { title: draft.title, body: draft.body, version: note.version, etag });
      this.#notes.add(note);
      this.#status.say(`Restored “${shown(note)}”.`);
      this.#list.focus(keyOf(note.id));
    } catch (error) {
      const { title, body } = draft ?? deleted;
      await this.#editor.bringBack(`new.${attempt.key}`, { title, body, attempt: error.isRefusal ? null : attempt });
      this.#status.say(`Not restored yet, but kept as a draft. ${error.message}`);
    }
  }
}

/** A title short enough for the status line. */
function shown(note) {
  const title = shownTitle(note?.title ?? '');
  return title.length > 48 ? `${title.slice(0, 46).trimEnd()}…` : title;
}
