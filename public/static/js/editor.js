/**
 * Writing: opens a note or a new one, keeps every keystroke as a draft, saves, and says what came of it.
 */

import * as address from './address.js';
import { idIn } from './drafts.js';
import { EditorView } from './editor-view.js';
import { Elsewhere } from './elsewhere.js';
import { Subject } from './subject.js';
import { TITLE_LIMIT, characters, sameText, shownTitle, trimmed } from './text.js';

/** Milliseconds from a keystroke to its draft. */
const DRAFT_DELAY = 200;

export class Editor {
  #api;
  #notes;
  #drafts;
  #list;
  #status;
  #saving;
  #subject = null;
  #draftTimer = 0;
  #view;
  #elsewhere;
  /** Counts openings: one whose note arrives late must not replace a later one. */
  #openings = 0;

  /** `remove(key)` deletes the note that is open. */
  constructor({ api, notes, drafts, list, status, saving, remove }) {
    this.#api = api;
    this.#notes = notes;
    this.#drafts = drafts;
    this.#list = list;
    this.#status = status;
    this.#saving = saving;
    this.#view = new EditorView({
      input: () => this.#typed(),
      save: () => this.save(),
      close: () => this.close(),
      discard: () => this.discard(this.key),
      remove: () => remove(this.key),
    });
    this.#elsewhere = new Elsewhere({ api, notes, drafts, status, view: this.#view, editor: this });
  }

  /** The key of what is open, or null. */
  get key() {
    return this.#subject?.key ?? null;
  }

  get hasFocus() {
    return this.#view.hasFocus;
  }

  /** A blank note; one that is being written already stays. */
  openNew() {
    if (this.#subject?.isNew) {
      this.#view.focusTitle();
      return;
    }
    const subject = Subject.blank();
    this.#begin(subject, subject.savedText);
    this.#view.focus({ isNew: true });
  }

  /** Opens a note or a draft. False when there is no such thing, or no telling. */
  async open(key, { focus = true } = {}) {
    if (this.key === key) {
      if (focus) this.#view.focus();
      return true;
    }
    const opening = ++this.#openings;
    const subject = this.#saving.find(key) ?? await this.#subjectOf(key);
    if (!subject) return false;
    if (opening !== this.#openings) return true;
    this.#begin(subject, this.#drafts.get(key) ?? subject.savedText);
    if (focus) this.#view.focus({ isNew: subject.isNew });
    if (!subject.isNew && !subject.isSaving) subject.meeting = this.#elsewhere.meet(subject);
    return true;
  }

  /** Puts the editor away; unsaved text stays as a draft. */
  close({ focus = true } = {}) {
    const subject = this.#subject;
    if (!subject) return;
    const isKept = this.#leave();
    this.#view.hide();
    address.tell(null);
    this.#list.current = null;
    if (isKept) this.#status.say('Not saved yet: kept as a draft in this browser.');
    if (focus && !this.#list.focus(subject.key)) document.getElementById('new-note').focus();
  }

  /** Forgets what is open without keeping a draft: the note is gone. */
  drop() {
    clearTimeout(this.#draftTimer);
    this.#subject = null;
    this.#view.hide();
    address.tell(null);
    this.#list.current = null;
  }

  /** Throws unsaved text away, and offers it back. */
  discard(key) {
    const subject = this.#subject?.key === key ? this.#subject : null;
    if (subject?.isSaving || this.#saving.find(key)) return;
    if (subject) this.#keepDraft();
    const draft = this.#drafts.get(key);
    const neighbour = this.#list.neighbour(key);
    this.#drafts.remove(key);
    if (subject?.base) {
      this.#view.unsay();
      this.adopt(subject, subject.newer ?? { note: subject.base, etag: subject.etag }, { fill: true });
      this.#view.focus();
    } else if (subject) {
      this.drop();
    }
    if (!subject?.base && (!neighbour || !this.#list.focus(neighbour))) document.getElementById('new-note').focus();
    if (draft) this.#status.say('Discarded.', { label: 'Undo', run: () => this.bringBack(key, draft) });
  }

  /** Puts text back that was discarded or replaced, as unsaved changes. */
  async bringBack(key, draft) {
    if (this.key === key) {
      this.#view.fill(draft);
      this.#typed();
      this.#view.focus();
      return;
    }
    this.#drafts.set(key, draft);
    await this.open(key);
  }

  /** Saves what is open. `byHand` is false when a save that failed is tried again by itself. */
  async save({ byHand = true } = {}) {
    const subject = this.#subject;
    if (!subject || subject.isSaving || !this.#canSave(subject)) return;

    const text = trimmed(this.#view.text);
    const isNew = subject.isNew;
    subject.isPending = false;
    this.#keepDraft();
    this.#view.unsay();
    // The "Saved." of before would contradict a refusal.
    this.#status.hush();
    const outcome = this.#saving.run(subject, text);
    this.#render();
    const error = await outcome;
    if (error) await this.#failed(subject, error);
    else this.#saved(subject, text, { isNew, byHand });
  }

  /** The API is back: saves what the person wanted saved while it was away. */
  async recover() {
    if (this.#subject?.isPending) await this.save({ byHand: false });
  }

  /** The list was read again: shows a newer state of the open note unless text would be lost. */
  followList() {
    const subject = this.#subject;
    if (!subject?.base || subject.isSaving || subject.newer) return;
    const note = this.#notes.find(subject.id);
    // The list carries no ETag, so the note itself is asked for.
    if (note && note.version !== subject.base.version) subject.meeting = this.#elsewhere.meet(subject);
  }

  /** Writes the draft now; the page may be going away. */
  flush() {
    this.#keepDraft();
  }

  /** Whether this is what is open. */
  shows(subject) {
    return this.#subject === subject;
  }

  /** Whether what is open says something that the server doesn't have. */
  get isDirty() {
    return this.#subject?.isDirty(this.#view.text) ?? false;
  }

  /** Takes a state of the server as what the text is compared with; with `fill`, shows it. */
  adopt(subject, state, { fill = false } = {}) {
    subject.adopt(state);
    if (!this.shows(subject)) return;
    if (fill && !sameText(subject.savedText, this.#view.text)) this.#view.fill(subject.savedText);
    this.#keepDraft();
  }

  /** The open subject has another key now. */
  follow(subject) {
    this.#list.current = subject.key;
    address.tell(subject.key);
    this.#render();
  }

  async #subjectOf(key) {
    const id = idIn(key);
    const draft = this.#drafts.get(key);
    const note = id === null ? null : this.#notes.find(id);
    if (note || draft) return new Subject(key, { note, draft });
    if (id === null) return null;
    try {
      return new Subject(key, await this.#api.note(id));
    } catch (error) {
      if (error.status === 404) this.#status.say('That note no longer exists.');
      return null;
    }
  }

  #begin(subject, text) {
    this.#leave();
    this.#openings += 1;
    this.#subject = subject;
    subject.hasDraft = this.#drafts.get(subject.key) !== null;
    this.#view.unsay();
    this.#view.fill(text);
    this.#view.show();
    this.#render();
    this.#list.current = subject.key;
    address.tell(subject.key);
    if (subject.newer) this.#elsewhere.choose(subject);
  }

  /** True when a draft stays behind. */
  #leave() {
    if (!this.#subject) return false;
    this.#keepDraft();
    const isKept = this.isDirty && !this.#subject.isSaving;
    this.#subject = null;
    return isKept;
  }

  #typed() {
    this.#render();
    clearTimeout(this.#draftTimer);
    this.#draftTimer = setTimeout(() => this.#keepDraft(), DRAFT_DELAY);
  }

  #keepDraft() {
    clearTimeout(this.#draftTimer);
    const subject = this.#subject;
    if (!subject) return;
    if (this.isDirty) {
      subject.isKept = this.#drafts.set(subject.key, subject.draft(this.#view.text));
      subject.hasDraft = true;
    } else if (subject.hasDraft) {
      // Only our own: another tab may be writing on the same note.
      this.#drafts.remove(subject.key);
      subject.hasDraft = false;
    }
    this.#render();
  }

  #render() {
    const subject = this.#subject;
    if (!subject) return;
    const isDirty = this.isDirty;
    if (subject.isSaving) this.#view.state('Saving…', 'busy');
    else if (isDirty && subject.isKept === false) this.#view.state('Unsaved; too large for a draft', 'unsaved');
    else if (isDirty) this.#view.state(subject.isNew ? 'Draft' : 'Unsaved', 'unsaved', subject.isNew ? ', not saved yet' : ' changes');
    else this.#view.state(subject.isNew ? 'New note' : 'Saved', '');
    this.#view.offer({ discard: isDirty && !subject.isSaving, remove: !subject.isNew });
    this.#view.facts(subject.base);
  }

  #canSave(subject) {
    const text = trimmed(this.#view.text);
    if (subject.newer) {
      this.#elsewhere.choose(subject);
    } else if (characters(text.title) > TITLE_LIMIT) {
      this.#view.refuseTitle(`${characters(text.title) - TITLE_LIMIT} over the limit of ${TITLE_LIMIT} characters`);
    } else if (!this.isDirty) {
      this.#status.say(subject.isNew ? 'There is nothing to save yet.' : 'Everything is saved.');
      if (subject.isNew) this.#view.focusTitle();
    } else {
      return true;
    }
    return false;
  }

  #saved(subject, text, { isNew, byHand }) {
    this.#status.say('Saved.');
    if (!this.shows(subject)) return;
    this.follow(subject);
    const isWhole = sameText(trimmed(this.#view.text), text);
    if (isWhole) this.adopt(subject, { note: subject.base, etag: subject.etag }, { fill: true });
    else this.#keepDraft();
    this.#render();
    // Somebody who types on, or had not asked just now, is left where they are.
    if (!byHand || !isWhole) return;
    if (this.#view.isNarrow) this.close();
    else if (isNew) this.#list.focus(subject.key);
  }

  async #failed(subject, error) {
    if (!this.shows(subject)) {
      const { title } = this.#drafts.get(subject.key) ?? subject.base ?? { title: '' };
      this.#status.say(`“${shownTitle(title)}” is not saved and is kept as a draft. ${error.message}`);
      return;
    }
    if (error.status === 412) {
      await this.#elsewhere.conflict(subject);
    } else if (error.status === 404 && !subject.isNew) {
      this.#elsewhere.gone(subject);
    } else if (error.isOutage) {
      subject.isPending = true;
      this.#view.say('Not saved: the server doesn’t answer. Your text is kept here, and is saved as soon as the server is back.');
    } else {
      this.#view.say(`Not saved: ${error.explanation}`);
      if (error.about('title')) this.#view.refuseTitle(error.about('title'));
    }
    this.#render();
  }
}
