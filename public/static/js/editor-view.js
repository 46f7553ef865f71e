/**
 * The editor as it stands on the page: its fields, what it says of their state, and its messages. It decides nothing.
 */

import { show as showTime } from './relative-time.js';
import { TITLE_LIMIT, characters, oneLine } from './text.js';

/** From this many characters on, the title's length is shown. */
const COUNT_FROM = 130;
/** A change sooner than this after the creation, in milliseconds, is not worth a word. */
const MINUTE = 60_000;

export class EditorView {
  #form = document.getElementById('editor');
  #side = document.getElementById('side');
  #welcome = document.getElementById('welcome');
  #title = document.getElementById('title');
  #body = document.getElementById('body');
  #hint = document.getElementById('title-hint');
  #facts = document.getElementById('facts');
  #state = document.getElementById('editor-state');
  #save = document.getElementById('save');
  #saveLabel = document.getElementById('save-label');
  #discard = document.getElementById('discard');
  #delete = document.getElementById('delete');
  #message = document.getElementById('editor-message');
  #messageText = document.getElementById('editor-message-text');
  #messageActions = document.getElementById('editor-message-actions');
  /** On a narrow screen the editor covers the list. */
  #narrow = matchMedia('(max-width: 47.99rem)');

  /** `on` has `input`, `save`, `close`, `discard` and `remove`. */
  constructor(on) {
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      on.save();
    });
    for (const field of [this.#title, this.#body]) {
      field.addEventListener('input', () => {
        this.#measure();
        on.input();
      });
    }
    this.#title.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.isComposing || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.#body.focus();
    });
    document.getElementById('close').addEventListener('click', on.close);
    this.#discard.addEventListener('click', on.discard);
    this.#delete.addEventListener('click', on.remove);
    this.#narrow.addEventListener('change', () => this.#cover());
  }

  get isOpen() {
    return !this.#form.hidden;
  }

  get isNarrow() {
    return this.#narrow.matches;
  }

  get hasFocus() {
    return this.#form.contains(document.activeElement);
  }

  get text() {
    return { title: oneLine(this.#title.value), body: this.#body.value };
  }

  fill({ title, body }) {
    this.#title.value = title;
    this.#body.value = body;
    this.#measure();
  }

  show() {
    this.#form.hidden = false;
    this.#welcome.hidden = true;
    document.body.classList.add('is-editing');
    this.#cover();
    this.#grow();
    this.#form.scrollTop = 0;
  }

  hide() {
    this.#form.hidden = true;
    this.#welcome.hidden = false;
    document.body.classList.remove('is-editing');
    this.#cover();
  }

  /** Focus to write on; on a narrow screen an existing note is rather read first, so no keyboard is called up. */
  focus({ isNew = false } = {}) {
    if (isNew && !this.#title.value) {
      this.#title.focus();
    } else if (this.isNarrow) {
      this.#form.focus();
    } else {
      this.#body.setSelectionRange(this.#body.value.length, this.#body.value.length);
      this.#body.focus({ preventScroll: true });
      this.#form.scrollTop = 0;
    }
  }

  focusTitle() {
    this.#title.focus();
  }

  /** `tone` is "" (at rest), "unsaved" or "busy"; for the `rest` of the words there is no room on a phone. */
  state(words, tone, rest = '') {
    if (this.#state.textContent !== words + rest) {
      const more = document.createElement('span');
      more.textContent = rest;
      this.#state.replaceChildren(words, more);
    }
    this.#state.dataset.tone = tone;
    this.#saveLabel.textContent = tone === 'busy' ? 'Saving…' : 'Save';
    // Not `disabled`: that would throw the focus away in the moment of saving.
    this.#save.setAttribute('aria-disabled', String(tone === 'busy'));
    this.#save.classList.toggle('primary', tone !== '');
  }

  offer({ discard, remove }) {
    // A button that goes takes its focus along.
    if (!discard && document.activeElement === this.#discard) this.#save.focus();
    this.#discard.hidden = !discard;
    this.#delete.hidden = !remove;
  }

  /** When the note was made and changed; null for one that's not on the server. */
  facts(note) {
    this.#facts.replaceChildren();
    if (!note) return;
    this.#facts.append('Created ', time(note.created_at));
    if (Date.parse(note.updated_at) - Date.parse(note.created_at) >= MINUTE) this.#facts.append(' · edited ', time(note.updated_at));
  }

  /** A message above the text; `actions` are `[label, run]` pairs. */
  say(text, actions = []) {
    this.#messageActions.replaceChildren(...actions.map(([label, run], index) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = index === 0 ? 'button strong' : 'button';
      button.textContent = label;
      button.addEventListener('click', run);
      return button;
    }));
    this.#messageActions.hidden = actions.length === 0;
    if (this.#messageText.textContent !== text) this.#messageText.textContent = text;
    this.#message.hidden = false;
  }

  unsay() {
    const hadFocus = this.#message.contains(document.activeElement);
    this.#message.hidden = true;
    this.#messageText.textContent = '';
    if (hadFocus) this.#form.focus();
  }

  /** Says what is wrong with the title, beside it. */
  refuseTitle(words) {
    this.#title.setAttribute('aria-invalid', 'true');
    this.#hint.textContent = words;
    this.#hint.classList.add('is-error');
    this.#title.focus();
  }

  #measure() {
    const length = characters(this.#title.value.trim());
    const tooLong = length > TITLE_LIMIT;
    this.#hint.textContent = tooLong
      ? `${length - TITLE_LIMIT} over the limit of ${TITLE_LIMIT} characters`
      : length >= COUNT_FROM ? `${TITLE_LIMIT - length} left` : '';
    this.#hint.classList.toggle('is-error', tooLong);
    if (tooLong) this.#title.setAttribute('aria-invalid', 'true');
    else this.#title.removeAttribute('aria-invalid');
    this.#grow();
  }

  /** Lets the fields be as high as their text where CSS alone can't. */
  #grow() {
    if (CSS.supports('field-sizing', 'content')) return;
    const top = this.#form.scrollTop;
    for (const field of [this.#title, this.#body]) {
      field.style.height = 'auto';
      field.style.height = `${field.scrollHeight}px`;
    }
    this.#form.scrollTop = top;
  }

  /** What lies under the editor can't be reached by Tab or by a screen reader. */
  #cover() {
    this.#side.inert = this.isNarrow && this.isOpen;
  }
}

function time(iso) {
  const element = document.createElement('time');
  showTime(element, iso);
  return element;
}
