/**
 * The notes page. Puts the parts together, in the order in which they need each other, and starts them.
 */

import * as address from './address.js';
import { Api } from './api.js';
import { Connection } from './connection.js';
import { Deletion } from './deletion.js';
import { Drafts, idIn } from './drafts.js';
import { Editor } from './editor.js';
import * as keyboard from './keyboard.js';
import { NoteList } from './note-list.js';
import { Notes } from './notes.js';
import { keepTrue } from './relative-time.js';
import { Saving } from './saving.js';
import { Status } from './status.js';

const status = new Status();
const drafts = new Drafts();
const api = new Api({ onAnswer: () => connection.up(), onOutage: (error) => connection.down(error) });
const notes = new Notes(api);
const connection = new Connection({ probe: () => notes.refresh(), onRecovery: recovered });
const list = new NoteList(notes, drafts, { open: (key) => editor.open(key), remove, more });
const saving = new Saving({ api, notes, drafts });
const editor = new Editor({ api, notes, drafts, list, status, saving, remove });
const deletion = new Deletion({ api, notes, drafts, list, status, editor });

const help = document.getElementById('help');
document.getElementById('new-note').addEventListener('click', () => editor.openNew());
document.getElementById('help-open').addEventListener('click', () => help.showModal());
help.addEventListener('click', (event) => event.target === help && help.close());

keyboard.nameKeys();
keyboard.listen({
  keys: {
    n: () => editor.openNew(),
    '/': () => list.focusFilter(),
    '?': () => help.showModal(),
    u: () => status.act(),
  },
  save: () => editor.save(),
  escape: (event) => {
    if (event.target.id === 'filter') {
      if (!list.clearFilter()) event.target.blur();
      event.preventDefault();
    } else {
      editor.close();
    }
  },
});

address.follow((key) => (key ? editor.open(key) : editor.close()));
keepTrue();
addEventListener('pagehide', () => editor.flush());
addEventListener('beforeunload', (event) => {
  editor.flush();
  if (drafts.wouldLose) event.preventDefault();
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) editor.flush();
  else if (!connection.isDown) reload();
});

list.render();
reopen({ onlyDraft: true });
reload().then(() => reopen());

/** Reads the list; a failure of whatever kind is told by the banner. */
async function reload() {
  try {
    await notes.refresh();
    editor.followList();
  } catch (error) {
    connection.down(error);
  }
}

async function recovered({ hadFocus }) {
  status.say('Connected again.');
  if (hadFocus) document.getElementById('new-note').focus();
  await reload();
  await editor.recover();
  await reopen();
}

async function more() {
  const before = notes.all.length;
  try {
    await notes.more();
    status.say(`${notes.all.length - before} more notes.`);
  } catch (error) {
    status.say(`No more notes could be loaded: ${error.message}`);
  }
}

function remove(key) {
  const isDraft = idIn(key) === null || !notes.find(idIn(key));
  if (isDraft && drafts.get(key)) editor.discard(key);
  else deletion.remove(key);
}

/** Opens what the address names: after a reload, what was open before it. */
async function reopen({ onlyDraft = false } = {}) {
  const key = address.key();
  if (!key || editor.key || (onlyDraft && !drafts.get(key))) return;
  const isThere = await editor.open(key, { focus: false });
  // While the API is away, the note may well be there.
  if (!isThere && !connection.isDown) address.tell(null);
}
