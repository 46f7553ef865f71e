// What is listed below the plots: routes, upstreams, certificates, and plain facts.

import { element, find, show } from "./elements.js";
import { bytes, count, day, duration, rate, share, span, utc } from "./words.js";

const SLOWEST = 8;

export function listAll(status, now) {
  show(find("routes"), routes(status));
  show(find("upstreams"), upstreams(status));
  show(find("certificates"), certificates(status, now));
  show(find("facts"), ...facts(status));
}

function routes({ routes }) {
  const busy = routes.filter(({ last_minute: minute }) => minute?.requests > 0);
  if (busy.length === 0) return nothing("No route was asked for in the last minute.");
  const slowest = busy.toSorted((one, other) => (other.last_minute.p99 ?? 0) - (one.last_minute.p99 ?? 0));
  const rows = slowest.slice(0, SLOWEST).map(({ host, path, action, last_minute: minute }) => [
    named(`${host ?? ""}${path}`, action),
    rate(minute.requests / minute.seconds),
    alarming(share(minute.classes["5xx"], minute.requests), minute.classes["5xx"] > 0),
    duration(minute.p50),
    duration(minute.p99),
  ]);
  return table("Slowest routes", ["Route", "A second", "Failed", "p50", "p99"], rows);
}

function upstreams({ upstreams }) {
  if (upstreams.length === 0) return nothing("No upstream is configured.");
  const rows = upstreams.flatMap(({ name, servers }) => servers.map((server) => [
    named(server.address, name),
    element("span", { class: `state state-${server.state}` }, server.state),
    count(server.running),
    count(server.requests),
    alarming(count(server.failed), false),
  ]));
  return table("Upstreams", ["Server", "State", "Running", "Requests", "Failed"], rows);
}

function certificates({ certificates }, now) {
  if (certificates.length === 0) return nothing("No certificates: tls.mode is \"off\".");
  const rows = certificates.map(({ names, source, served, stored, next_step: next }) => {
    const held = served ?? stored;
    const left = held ? (Date.parse(held.not_after) - now) / 1000 : 0;
    return [
      named(names.join(", ") || source, source),
      element("span", { class: "words" },
        held ? element("span", { title: utc(Date.parse(held.not_after)) }, `${day(held.not_after)}, ${left > 0 ? `in ${span(left)}` : "over"}`) : "none yet",
        element("small", {}, next ?? "")),
    ];
  });
  return table("Certificates", ["Names", "Valid until, and what comes next"], rows, "is-worded");
}

function facts(status) {
  const addresses = [
    ...status.listeners.http.map((address) => `http://${address}`),
    ...status.listeners.https.map((address) => `https://${address}`),
  ];
  const total = status.traffic.since_start;
  const files = status.process.open_files;
  return [
    ["Listening", addresses.join(", ") || "nowhere"],
    ["Since the start", total.requests === 0 ? "no requests" : `${count(total.requests)} requests, ${share(total.classes["5xx"], total.requests)} failed, p99 ${duration(total.p99)}`],
    files && ["Open files", `${count(files)} of ${count(status.process.max_open_files)}`],
    ["Version", status.version],
    ["Started", utc(Date.parse(status.started))],
    ["Configuration", `loaded ${utc(Date.parse(status.configuration.loaded))}`],
    status.backup && ["Last backup", status.backup.last ? `${utc(Date.parse(status.backup.last.finished))}, ${bytes(status.backup.last.bytes)}` : "none yet"],
    status.configuration.waiting.length > 0 && ["A restart is needed for", status.configuration.waiting.join(", ")],
  ].filter(Boolean).map(([name, words]) => element("div", {}, element("dt", {}, name), element("dd", {}, words)));
}

/** A table in a frame that scrolls by itself where the window is narrow. */
function table(name, heads, rows, kind) {
  return element("div", { class: "frame", role: "region", "aria-label": `${name}, table`, tabindex: 0 },
    element("table", { class: kind },
      element("thead", {}, element("tr", {}, heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, rows.map(([first, ...others]) => element("tr", {},
        element("th", { scope: "row" }, first), others.map((cell) => element("td", {}, cell)))))));
}

const nothing = (words) => element("p", { class: "nothing" }, words);
const named = (name, more) => element("span", { class: "named" }, name, element("small", {}, more));
const alarming = (words, is) => element("span", { class: is ? "alarming" : null }, words);
