/**
 * Sends a subject's text to the server, once, whatever the network does to the answer.
 */

import { ApiError } from './api.js';
import { UNTITLED, sameText, trimmed, uuid } from './text.js';

export class Saving {
  #api;
  #notes;
  #drafts;
  #running = new Set();

  constructor({ api, notes, drafts }) {
    this.#api = api;
    this.#notes = notes;
    this.#drafts = drafts;
  }

  /** The subject of this key that is on its way, if one is. */
  find(key) {
    for (const subject of this.#running) if (subject.key === key) return subject;
    return null;
  }

  /** Saves `text`; null when the server has it, else the error. */
  async run(subject, text) {
    subject.isSaving = true;
    this.#running.add(subject);
    try {
      if (subject.isNew) await this.#create(subject, text);
      else await this.#update(subject, text);
      this.#dropDraft(subject, text);
      return null;
    } catch (error) {
      return error;
    } finally {
      subject.isSaving = false;
      this.#running.delete(subject);
    }
  }

  /**
   * A create that was never answered may have been stored all the same. It is sent again as it was, under its own key,
   * and what was written since then is saved over it: neither a second note nor a lost word.
   */
  async #create(subject, text) {
    subject.attempt ??= { ...text, key: uuid() };
    const { attempt } = subject;
    this.#drafts.set(subject.key, { ...this.#drafts.get(subject.key), attempt });
    try {
      this.#becomeNote(subject, await this.#api.create(attempt, attempt.key));
    } catch (error) {
      // 409 is the server still at work on the first one.
      if (error.isRefusal && error.status !== 409) this.#forgetAttempt(subject);
      throw error;
    }
    if (!sameText(attempt, text)) await this.#update(subject, text);
  }

  async #update(subject, text) {
    // The ETag may still be on its way; a note that turns out to be another by now is not overwritten without a question.
    await subject.meeting;
    if (subject.newer) throw new ApiError('The note was changed elsewhere.', { status: 412 });
    const saved = await this.#api.update(subject.id, { title: text.title || UNTITLED, body: text.body }, subject.etag);
    subject.adopt(saved);
    this.#notes.replace(saved.note);
  }

  #becomeNote(subject, created) {
    const draft = this.#drafts.get(subject.key);
    this.#drafts.remove(subject.key);
    subject.becomeNote(created);
    if (draft) this.#drafts.set(subject.key, subject.draft(draft));
    this.#notes.add(created.note);
  }

  #forgetAttempt(subject) {
    subject.attempt = null;
    const { attempt, ...draft } = this.#drafts.get(subject.key) ?? {};
    if (attempt) this.#drafts.set(subject.key, draft);
  }

  /** The draft has served, unless it was written on in the meantime; then it goes on from what was saved. */
  #dropDraft(subject, text) {
    const draft = this.#drafts.get(subject.key);
    if (!draft) return;
    if (sameText(trimmed(draft), text)) this.#drafts.remove(subject.key);
    else this.#drafts.set(subject.key, subject.draft(draft));
  }
}
