/**
 * Other people, and the same person in another tab: notices that the open note was changed or deleted elsewhere, and
 * lets the person decide. No text goes away without an offer to bring it back.
 */

import { ago } from './relative-time.js';
import { asTyped, sameText } from './text.js';

export class Elsewhere {
  #api;
  #notes;
  #drafts;
  #status;
  #view;
  #editor;

  constructor({ api, notes, drafts, status, view, editor }) {
    this.#api = api;
    this.#notes = notes;
    this.#drafts = drafts;
    this.#status = status;
    this.#view = view;
    this.#editor = editor;
  }

  /** Reads the note itself: its ETag, and whether it is still what the text started from. */
  async meet(subject) {
    let met;
    try {
      met = await this.#api.note(subject.id);
    } catch (error) {
      if (error.status === 404) this.gone(subject);
      return;
    }
    this.#notes.replace(met.note);
    const isSame = met.note.version === subject.version;
    if (subject.isSaving) {
      // The save waits for us, and goes by what it finds here.
      if (isSame) subject.etag = met.etag;
      else subject.newer = met;
    } else if (this.#editor.shows(subject)) {
      const isUntouched = !this.#editor.isDirty || sameText(asTyped(met.note), this.#view.text);
      if (isUntouched) this.#editor.adopt(subject, met, { fill: true });
      else if (isSame) this.#editor.adopt(subject, met);
      else this.choose(subject, met);
    }
  }

  /** A save was refused because the note is not what it was: finds out what it is now. */
  async conflict(subject) {
    try {
      const newer = await this.#api.note(subject.id);
      this.#notes.replace(newer.note);
      if (this.#editor.shows(subject)) this.choose(subject, newer);
    } catch (error) {
      if (error.status === 404) this.gone(subject);
      else this.#view.say(`Not saved: the note was changed elsewhere, and the newer version can’t be read. ${error.message}`);
    }
  }

  /** Asks which of two texts is to stay. */
  choose(subject, newer = subject.newer) {
    subject.newer = newer;
    this.#view.say(`This note was changed elsewhere ${ago(Date.parse(newer.note.updated_at))}. Your text is not saved.`, [
      ['Load the newer one', () => this.#takeNewer(subject)],
      ['Overwrite it with mine', () => this.#overwrite(subject)],
    ]);
  }

  /** The note was deleted elsewhere: text that exists nowhere else becomes a new note's draft. */
  gone(subject) {
    const isOpen = this.#editor.shows(subject);
    const { id, key } = subject;
    const text = isOpen ? this.#editor.isDirty && this.#view.text : this.#drafts.get(key);
    subject.becomeNew();
    if (text) this.#drafts.set(subject.key, subject.draft(text));
    this.#drafts.remove(key);
    this.#notes.forget(id);
    if (isOpen && text) {
      this.#editor.follow(subject);
      this.#view.say('This note was deleted elsewhere. Your text is kept here as a draft.', [
        ['Save as a new note', () => this.#editor.save()],
      ]);
    } else if (isOpen) {
      this.#editor.drop();
      document.getElementById('new-note').focus();
      this.#status.say('That note was deleted elsewhere.');
    }
  }

  #takeNewer(subject) {
    const { key, newer } = subject;
    const mine = this.#view.text;
    this.#view.unsay();
    this.#view.fill(asTyped(newer.note));
    this.#editor.adopt(subject, newer);
    this.#view.focus();
    const run = () => this.#editor.bringBack(key, subject.draft(mine));
    this.#status.say('This is the newer version.', { label: 'Bring mine back', run });
  }

  #overwrite(subject) {
    // With the newer state's ETag, so that a third change is noticed as well.
    this.#editor.adopt(subject, subject.newer);
    this.#view.focus();
    this.#editor.save();
  }
}
