// The stream of figures, and the truth about it: connected, or not, and since when.

/** Without a word for so long, in milliseconds, a connection is taken for dead. The server speaks every two seconds. */
const PATIENCE = 12_000;
/** Between two attempts, and after the server had no room, in milliseconds. */
const PAUSE = 1_500;
const LONG_PAUSE = 10_000;

/**
 * Listens to the figures at `url` for as long as the page is to be seen.
 *
 * `heard` gets each message. `changed` gets a state, "live", "asking" or "lost", and since when (milliseconds on this
 * clock) and why nothing is heard.
 */
export function listen(url, heard, changed) {
  let source = null;
  let watchdog = 0;
  let retry = 0;
  let last = null;
  let opened = Date.now();

  const lost = (why, pause = PAUSE) => {
    close();
    changed({ state: "lost", since: last ?? opened, why, ever: last !== null });
    retry = setTimeout(open, pause);
  };
  const close = () => {
    clearTimeout(watchdog);
    clearTimeout(retry);
    source?.close();
    source = null;
  };
  const wait = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => lost("nothing was heard"), PATIENCE);
  };
  const open = () => {
    close();
    source = new EventSource(url);
    wait();
    source.onmessage = (message) => {
      wait();
      last = Date.now();
      changed({ state: "live" });
      heard(JSON.parse(message.data));
    };
    source.addEventListener("end", ({ data }) => {
      if (data === "crowded") lost("others look at this page, more than the server shows it to at once", LONG_PAUSE);
      else lost("the server was stopped");
    });
    source.onerror = () => lost("the server does not answer");
  };

  // Nobody looks at a page in the background: it leaves its place to others.
  const look = () => {
    if (document.hidden) {
      close();
      changed({ state: "asking" });
    } else {
      open();
    }
  };
  document.addEventListener("visibilitychange", look);
  look();
}
