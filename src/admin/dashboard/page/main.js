// The dashboard: it hears the server out every two seconds and shows what was said, the answer to "is it fine?" first.

import { listen } from "./connection.js";
import { element, find, say, show } from "./elements.js";
import { History } from "./history.js";
import { listAll } from "./lists.js";
import { Plot } from "./plot.js";
import { PLOTS } from "./plots.js";
import { clock, count, duration, rate, share, span } from "./words.js";

/** The time all plots are read at; null is now. */
const cursor = {
  time: null,
  move(time) {
    cursor.time = time;
    requestAnimationFrame(() => plots.forEach((plot) => plot.draw()));
  },
};
const history = new History();
const plots = PLOTS.map((about) => new Plot(about, cursor));
let latest = null;
let connection = { state: "asking" };

find("plots").append(...plots.map(({ root }) => root));
listen("/dashboard/events", heard, (next) => {
  connection = next;
  tell();
});
// Silence is to be seen as well.
setInterval(() => {
  if (connection.state !== "live") tell();
}, 1000);

function heard(message) {
  // Another version brings another page.
  if (latest && latest.status.version !== message.status.version) return location.reload();
  latest = message;
  history.add(message);
  for (const id of ["plots", "lists", "facts-section"]) find(id).hidden = false;
  listAll(message.status, message.now);
  tell();
}

function tell() {
  const live = connection.state === "live";
  document.body.classList.toggle("is-stale", !live && latest !== null);
  tellConnection();
  if (connection.state === "lost") tellLoss();
  else if (latest) tellVerdict(latest.status);
  if (latest) for (const plot of plots) plot.draw(history, latest.status);
}

function tellConnection() {
  const { state, since } = connection;
  const words = { live: "live", asking: "connecting", lost: since && `not connected since ${clock(since)}` }[state];
  find("link").dataset.state = state;
  say(find("link"), words);
  if (!latest) return;
  const { host, now, status } = latest;
  say(find("host"), host);
  say(find("about"), `unibody ${status.version}, up ${span((now - Date.parse(status.started)) / 1000)}`);
}

function tellLoss() {
  const { since, why, ever } = connection;
  const line = ever ? `Not connected since ${clock(since)}` : "Not connected";
  const more = `${sentence(why)} This page tries again by itself${latest ? "; the figures below are from before" : ""}.`;
  verdict("unknown", line, more, []);
}

function tellVerdict({ troubles, traffic: { last_minute: minute } }) {
  const broken = troubles.filter(({ severity }) => severity === "broken").length;
  const warnings = troubles.length - broken;
  const traffic = minute.requests === 0
    ? "No requests in the last minute."
    : `${rate(minute.requests / minute.seconds)} requests a second in the last minute, ${failures(minute)}; half within ${duration(minute.p50)}, 99 % within ${duration(minute.p99)}.`;
  if (broken > 0) verdict("broken", `${counted(broken, "problem")}${warnings ? ` and ${counted(warnings, "warning")}` : ""}`, traffic, troubles);
  else if (warnings > 0) verdict("warning", `It serves, with ${counted(warnings, "warning")}`, traffic, troubles);
  else verdict("fine", "Everything is fine", traffic, []);
}

function verdict(severity, line, more, troubles) {
  find("verdict").dataset.severity = severity;
  document.title = severity === "fine" ? hostName() : `${severity === "unknown" ? "?" : "●"} ${line} · ${hostName()}`;
  say(find("verdict-line"), line);
  say(find("verdict-more"), more);
  show(find("troubles"), ...troubles.map((trouble) => element("li", { class: trouble.severity },
    element("p", { class: "what" }, coded(sentence(trouble.what))), element("p", { class: "remedy" }, coded(sentence(trouble.remedy))))));
}

const hostName = () => latest?.host ?? "unibody";
const failures = ({ classes, requests }) => (classes["5xx"] === 0 ? "none failed" : `${share(classes["5xx"], requests)} failed`);
const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** With a capital letter and a full stop. Names and commands at the beginning stay as they are. */
function sentence(words) {
  const first = /^[a-z]+ /.test(words) ? words[0].toUpperCase() + words.slice(1) : words;
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}

/** Commands stand between backticks, as in a terminal. */
function coded(words) {
  return words.split("`").map((part, index) => (index % 2 === 1 ? element("code", {}, part) : part));
}
