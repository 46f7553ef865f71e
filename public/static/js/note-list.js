/**
 * The list on the page: a row for each note and, above, one for each new note that was never saved. Rows are kept and
 * moved, never rebuilt, so that focus and scroll position survive every change.
 */

import { idIn, keyOf } from './drafts.js';
import { show as showTime } from './relative-time.js';
import { excerpt, folded, shownTitle } from './text.js';

export class NoteList {
  #notes;
  #drafts;
  #list = document.getElementById('notes');
  #draftList = document.getElementById('drafts');
  #filter = document.getElementById('filter');
  #count = document.getElementById('count');
  #empty = document.getElementById('list-empty');
  #welcome = document.getElementById('welcome-text');
  #more = document.getElementById('more');
  #skeleton = document.getElementById('skeleton');
  #template = document.getElementById('note-row');
  #rows = new Map();
  #searchable = new WeakMap();
  #current = null;

  /** `on` has `open(key)`, `remove(key)` and `more()`; a key is `note.ID` or `new.UUID`, as drafts have it. */
  constructor(notes, drafts, on) {
    this.#notes = notes;
    this.#drafts = drafts;
    notes.addEventListener('change', () => this.render());
    drafts.addEventListener('change', () => this.render());
    this.#filter.addEventListener('input', () => this.render());
    document.getElementById('load-more').addEventListener('click', on.more);
    for (const list of [this.#list, this.#draftList]) {
      list.addEventListener('click', (event) => {
        const button = event.target.closest('button');
        const key = button?.closest('li')?.dataset.key;
        if (key) button.classList.contains('note-open') ? on.open(key) : on.remove(key);
      });
    }
    document.getElementById('side').addEventListener('keydown', (event) => this.#move(event, on));
  }

  /** Marks the row whose note the editor shows. */
  set current(key) {
    this.#current = key;
    for (const [other, row] of this.#rows) mark(row, other === key);
    if (key) this.#rows.get(key)?.scrollIntoView({ block: 'nearest' });
  }

  /** Moves the focus to a row; false when there is none to see. */
  focus(key) {
    const row = this.#rows.get(key);
    if (!row || row.hidden) return false;
    row.querySelector('.note-open').focus();
    return true;
  }

  /** The row that takes the focus when this one goes: the next, else the one before. */
  neighbour(key) {
    const rows = this.#visible();
    const index = rows.findIndex((row) => row.dataset.key === key);
    return (rows[index + 1] ?? rows[index - 1])?.dataset.key ?? null;
  }

  busy(key, isBusy) {
    this.#rows.get(key)?.classList.toggle('is-busy', isBusy);
  }

  focusFilter() {
    this.#filter.focus();
    this.#filter.select();
  }

  /** Shows every note again. False when no filter was set. */
  clearFilter() {
    if (!this.#filter.value) return false;
    this.#filter.value = '';
    this.render();
    return true;
  }

  render() {
    const words = folded(this.#filter.value).split(/\s+/).filter(Boolean);
    const notes = this.#notes.all;
    const drafts = this.#drafts.all().filter(({ key }) => this.#isHomeless(key));

    const draftRows = drafts.map(({ key, draft }) => this.#draftRow(key, draft));
    const noteRows = notes.map((note) => this.#noteRow(note));
    notes.forEach((note, index) => { noteRows[index].hidden = !this.#matches(note, words); });
    this.#dropAllBut(new Set([...draftRows, ...noteRows]));
    arrange(this.#draftList, draftRows);
    arrange(this.#list, noteRows);
    this.#draftList.hidden = drafts.length === 0;
    this.#list.setAttribute('aria-busy', String(!this.#notes.isLoaded));
    this.#skeleton.hidden = this.#notes.isLoaded;
    this.#more.hidden = !this.#notes.hasMore;
    this.#tell(words.length > 0, noteRows.filter((row) => !row.hidden).length, drafts.length);
  }

  #tell(isFiltered, shown, drafts) {
    const known = this.#notes.all.length;
    const all = `${known}${this.#notes.hasMore ? '+' : ''} ${known === 1 && !this.#notes.hasMore ? 'note' : 'notes'}`;
    // Typing in the filter is answered aloud; other changes have words of their own.
    this.#count.setAttribute('aria-live', isFiltered ? 'polite' : 'off');
    this.#count.textContent = !this.#notes.isLoaded ? '' : isFiltered ? `${shown} of ${all}` : all;
    this.#empty.hidden = !this.#notes.isLoaded || shown > 0 || (drafts > 0 && !isFiltered);
    this.#empty.textContent = isFiltered ? 'No note shown here has these words.' : 'No notes yet.';
    this.#welcome.textContent = this.#notes.isLoaded && known === 0 ? 'A blank sheet. Write the first note.' : 'Choose a note to read or change it.';
  }

  #noteRow(note) {
    const key = keyOf(note.id);
    const draft = this.#drafts.get(key);
    const row = this.#row(key, note, { open: 'Edit', remove: 'Delete' });
    row.dataset.id = note.id;
    row.querySelector('.note-excerpt').textContent = excerpt(note.body);
    showTime(row.querySelector('time'), note.updated_at ?? note.created_at, 'short');
    flag(row, draft ? 'Unsaved' : '');
    return row;
  }

  #draftRow(key, draft) {
    const row = this.#row(key, draft, { open: 'Continue draft', remove: 'Discard draft' });
    delete row.dataset.id;
    row.querySelector('.note-excerpt').textContent = excerpt(draft.body);
    showTime(row.querySelector('time'), draft.at, 'short');
    flag(row, 'Draft');
    return row;
  }

  #row(key, { title }, verbs) {
    let row = this.#rows.get(key);
    if (!row) {
      row = this.#template.content.firstElementChild.cloneNode(true);
      row.dataset.key = key;
      const about = row.querySelector('.note-about');
      about.id = `about-${key}`;
      row.querySelector('.note-open').setAttribute('aria-describedby', about.id);
      this.#rows.set(key, row);
      mark(row, key === this.#current);
    }
    const name = shownTitle(title);
    row.querySelector('.note-title').textContent = name;
    row.querySelector('.note-open').setAttribute('aria-label', `${verbs.open} ${name}`);
    const remove = row.querySelector('.note-delete');
    remove.setAttribute('aria-label', `${verbs.remove} ${name}`);
    remove.title = verbs.remove;
    return row;
  }

  #dropAllBut(wanted) {
    for (const [key, row] of this.#rows) {
      if (wanted.has(row)) continue;
      row.remove();
      this.#rows.delete(key);
    }
  }

  /** A draft that no note's row can stand for: of a new note, or of one that is gone or further down the server's list. */
  #isHomeless(key) {
    const id = idIn(key);
    return id === null || (this.#notes.isLoaded && !this.#notes.find(id));
  }

  #matches(note, words) {
    if (words.length === 0) return true;
    if (!this.#searchable.has(note)) this.#searchable.set(note, folded(`${note.title}\n${note.body}`));
    const text = this.#searchable.get(note);
    return words.every((word) => text.includes(word));
  }

  #visible() {
    return [...this.#draftList.children, ...this.#list.children].filter((row) => !row.hidden);
  }

  #move(event, on) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const rows = this.#visible();
    const here = rows.findIndex((row) => row.contains(event.target));
    if (here < 0 && !(event.target === this.#filter && event.key === 'ArrowDown')) return;

    if (event.key === 'Delete') {
      event.preventDefault();
      on.remove(rows[here].dataset.key);
      return;
    }
    const goal = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (goal === undefined) return;
    event.preventDefault();
    if (goal < 0) this.#filter.focus();
    else rows[goal]?.querySelector('.note-open').focus();
  }
}

function arrange(list, rows) {
  rows.forEach((row, index) => {
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
  });
}

function mark(row, isCurrent) {
  row.classList.toggle('is-current', isCurrent);
  const open = row.querySelector('.note-open');
  if (isCurrent) open.setAttribute('aria-current', 'true');
  else open.removeAttribute('aria-current');
}

function flag(row, words) {
  const element = row.querySelector('.note-flag');
  element.textContent = words;
  element.hidden = !words;
}
