/**
 * The notes API. A call resolves to what was asked for or throws an `ApiError`; a success and the API
 * being away are also told to `onAnswer` and `onOutage`, so that one place (the banner) follows the connection.
 */

/** Milliseconds until a call counts as unanswered; above the server's own 10 s for a connection plus 10 s for a statement. */
const READ_TIMEOUT = 25_000;
/** The same for calls that carry a note up to `max_body`, perhaps over a slow line. */
const WRITE_TIMEOUT = 90_000;
/** What a proxy or the server says when the API behind it can't answer now. */
const OUTAGES = new Set([0, 502, 503, 504]);

/** Why a call failed. `status` is 0 when no whole answer came. */
export class ApiError extends Error {
  constructor(message, { status = 0, problem = {}, retryAfter = null } = {}) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    /** Seconds, or null when the server named none. */
    this.retryAfter = retryAfter;
    this.requestId = problem.request_id ?? '';
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
  }

  /** The API is away; the same call may succeed later. */
  get isOutage() {
    return OUTAGES.has(this.status);
  }

  /** The server took a decision about the request, so it certainly stored nothing. */
  get isRefusal() {
    return this.status >= 400 && this.status < 500 && this.status !== 408;
  }

  /** All that the server said about it, in one line. */
  get explanation() {
    const parts = this.errors.map((error) => [error?.field, error?.detail].filter(Boolean).join(' ')).filter(Boolean);
    const wait = this.retryAfter ? ` Try again in ${this.retryAfter} s.` : '';
    const reference = this.requestId ? ` (Request ${this.requestId})` : '';
    return `${this.message}${parts.length ? ` (${parts.join('; ')})` : ''}${wait}${reference}`;
  }

  /** What the server says about one field, or an empty string. */
  about(field) {
    return this.errors.find((error) => String(error?.field ?? '').replace(/^[/.]+/, '') === field)?.detail ?? '';
  }
}

export class Api {
  constructor({ onAnswer, onOutage }) {
    this.onAnswer = onAnswer;
    this.onOutage = onOutage;
  }

  /** One page of the list, newest first, and the address of the next page or null. */
  async page(address = '/api/notes?limit=50') {
    const { value, headers } = await this.#call('GET', address);
    if (!Array.isArray(value)) throw new ApiError('The server sent something that is not a list of notes.', { status: 500 });
    return { notes: value, next: nextPage(headers.get('Link')) };
  }

  /** A note and its ETag (null when the server sends none). */
  note(id) {
    return this.#note('GET', path(id));
  }

  /** Stores a new note. The same `key` twice stores it once. A blank title is left out: the server names the note then. */
  create({ title, body }, key) {
    return this.#note('POST', '/api/notes', { content: title ? { title, body } : { body }, headers: { 'Idempotency-Key': key } });
  }

  /** Replaces a note; with an ETag only if it's still the version that we have seen (412 otherwise). */
  update(id, { title, body }, etag) {
    return this.#note('PUT', path(id), { content: { title, body }, headers: onlyIf(etag) });
  }

  async remove(id, etag) {
    await this.#call('DELETE', path(id), { headers: onlyIf(etag) });
  }

  async #note(method, address, request) {
    const { value, headers } = await this.#call(method, address, request);
    if (value?.id === undefined) throw new ApiError('The server sent something that is not a note.', { status: 500 });
    return { note: value, etag: headers.get('ETag') };
  }

  async #call(method, address, { content, headers = {} } = {}) {
    try {
      const answer = await exchange(method, address, content, headers);
      this.onAnswer();
      return answer;
    } catch (error) {
      if (error.isOutage) this.onOutage(error);
      throw error;
    }
  }
}

async function exchange(method, address, content, headers) {
  const request = {
    method,
    headers: { Accept: 'application/json, application/problem+json', ...headers },
    // Revalidate always: an answer from the cache would hide an outage and other people's changes.
    cache: 'no-cache',
    signal: AbortSignal.timeout(method === 'GET' ? READ_TIMEOUT : WRITE_TIMEOUT),
  };
  if (content !== undefined) {
    request.headers['Content-Type'] = 'application/json';
    request.body = JSON.stringify(content, wellFormed);
  }

  let response;
  let text;
  try {
    response = await fetch(address, request);
    text = await response.text();
  } catch {
    throw new ApiError('The server can’t be reached.');
  }

  const value = parsed(text);
  if (response.ok && (value !== undefined || response.status === 204)) return { value, headers: response.headers };
  if (response.ok) throw new ApiError('The server sent an answer that is no JSON.', { status: 500 });
  const problem = value && typeof value === 'object' ? value : {};
  throw new ApiError(problem.detail || problem.title || `The server answered ${response.status}.`, {
    status: response.status,
    problem,
    retryAfter: seconds(response.headers.get('Retry-After')),
  });
}

/** Half of a surrogate pair is not text; sent as it is, the server would refuse the whole note as malformed JSON. */
function wellFormed(_, value) {
  return typeof value === 'string' && value.toWellFormed ? value.toWellFormed() : value;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function path(id) {
  return `/api/notes/${encodeURIComponent(id)}`;
}

function onlyIf(etag) {
  return etag ? { 'If-Match': etag } : {};
}

/** The `rel="next"` target of a Link header (RFC 8288), kept to this origin. */
function nextPage(header) {
  for (const link of header?.match(/<[^>]*>[^<]*/g) ?? []) {
    const [, target, parameters] = link.match(/<([^>]*)>([^<]*)/);
    if (!/;\s*rel="?(?:[^";]*\s)?next[\s";,]?/i.test(parameters)) continue;
    const address = new URL(target, location.href);
    return address.pathname + address.search;
  }
  return null;
}

/** Retry-After in seconds: a number, or a date (RFC 9110, section 10.2.3). */
function seconds(header) {
  if (!header) return null;
  if (/^\s*\d+\s*$/.test(header)) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, Math.ceil((date - Date.now()) / 1000));
}
