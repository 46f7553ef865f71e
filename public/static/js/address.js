/**
 * What the editor shows is in the address (`#/note.42`, `#/new.UUID`), so a reload opens it again and the Back button
 * of a phone closes it. At most one entry of the history is ours.
 */

/** The key in the address, or null. */
export function key() {
  const match = location.hash.match(/^#\/((?:note|new)\..+)$/);
  try {
    return match ? decodeURIComponent(match[1]) : null;
  } catch {
    return null;
  }
}

/** Says in the address what is open; null for nothing. */
export function tell(open) {
  if (open === key()) return;
  if (open === null) {
    // Going back would be asynchronous, and close what is opened in the meantime. The entry stays, to be used again.
    history.replaceState({ isSpare: true }, '', location.pathname + location.search);
    return;
  }
  const hash = `#/${encodeURIComponent(open)}`;
  if (key() !== null || history.state?.isSpare) history.replaceState(null, '', hash);
  else history.pushState(null, '', hash);
}

/** Calls `then` with the key whenever the person goes back, forward, or changes the address. */
export function follow(then) {
  addEventListener('popstate', () => then(key()));
}
