/**
 * What a note's text is measured and shown by: the title's limit, blankness, excerpts, the filter's idea of equality.
 */

/** The longest title the API takes, in characters (code points, as the server counts them). */
export const TITLE_LIMIT = 160;

/** Name of a note whose title was left blank, as the server writes it. */
export const UNTITLED = 'Untitled';

/** Length in code points: an emoji is one character although it is two UTF-16 units. */
export function characters(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** The title on one line; pasted line breaks become spaces. */
export function oneLine(text) {
  return text.replace(/[\r\n\u2028\u2029]+/g, ' ');
}

/** A note's text as the fields give it back; they know no other line break than LF. */
export function asTyped({ title, body }) {
  return { title: oneLine(title), body: body.replace(/\r\n?/g, '\n') };
}

/** A note's text as it is sent: blanks around a title are slips. */
export function trimmed({ title, body }) {
  return { title: title.trim(), body };
}

/** A title to show: never empty. */
export function shownTitle(title) {
  return title.trim() || UNTITLED;
}

/** The first words of a body for the list, on one line. */
export function excerpt(body, length = 160) {
  return body.slice(0, length * 2).replace(/\s+/g, ' ').trim().slice(0, length);
}

/** Text reduced to what the filter compares: "Čaj" is found by "caj". */
export function folded(text) {
  return text.normalize('NFKD').replace(/\p{M}+/gu, '').toLowerCase();
}

/** Whether two notes say the same, whatever else differs. */
export function sameText(one, other) {
  return one.title === other.title && one.body === other.body;
}

/**
 * A random identifier. `crypto.randomUUID` exists only in secure contexts, and behind a load balancer that speaks plain
 * HTTP this page is not one.
 */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
