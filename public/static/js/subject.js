/**
 * What the editor is about: a note that the server knows, or a new one. It remembers which state of the note the text
 * started from, and outlives being shown while it is being saved.
 */

import { idIn, keyOf } from './drafts.js';
import { asTyped, sameText, uuid } from './text.js';

export class Subject {
  /** The note as the server last gave it; null if it never did. */
  base = null;
  /** The state that the text started from. */
  version;
  etag = null;
  /** A newer state that somebody else has put there, as `{ note, etag }`. */
  newer = null;
  /** A create that was sent and never answered, as `{ title, body, key }`. */
  attempt = null;
  /** Resolves when the server's state of the note is known, or can't be. */
  meeting = null;
  isSaving = false;
  /** The person wants it saved as soon as the API is back. */
  isPending = false;
  hasDraft = false;
  /** False when the last draft of it would not survive a reload. */
  isKept = true;

  constructor(key, { note = null, etag = null, draft = null } = {}) {
    /** `note.ID` or `new.UUID`, as drafts and rows have it. */
    this.key = key;
    /** The note's id, null until the server knows the note. */
    this.id = idIn(key);
    this.base = note;
    this.version = draft?.version ?? note?.version;
    this.etag = draft?.etag ?? etag;
    this.attempt = draft?.attempt ?? null;
  }

  static blank() {
    return new Subject(`new.${uuid()}`);
  }

  get isNew() {
    return this.id === null;
  }

  /** What the fields show when nothing was changed. */
  get savedText() {
    return asTyped(this.base ?? { title: '', body: '' });
  }

  /** Whether `text` says something that the server doesn't have. */
  isDirty(text) {
    if (this.isNew) return Boolean(text.title.trim() || text.body);
    return !this.base || !sameText(this.savedText, text);
  }

  draft({ title, body }) {
    return { title, body, version: this.version, etag: this.etag, attempt: this.attempt };
  }

  /** Takes a state of the server as what text is compared with and saved over. */
  adopt({ note, etag }) {
    this.base = note;
    this.version = note.version;
    this.etag = etag;
    this.newer = null;
  }

  /** The server has stored the new note. */
  becomeNote({ note, etag }) {
    this.key = keyOf(note.id);
    this.id = String(note.id);
    this.attempt = null;
    this.adopt({ note, etag });
  }

  /** The server has the note no more. */
  becomeNew() {
    Object.assign(this, { ...new Subject(`new.${uuid()}`), isKept: this.isKept });
  }
}
