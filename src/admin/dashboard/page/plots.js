// Which plots there are.

import { bytes, count, duration, rate, share } from "./words.js";

/** In the order in which points have them. */
const CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx", "left"];
const UNROUTED = CLASSES.length;
const perSecond = (value) => (value === null || value === undefined ? "–" : rate(value));
const number = (value) => (value === null || value === undefined ? "–" : count(value));

/** Per second of the last minute, by status class. */
const recent = (...classes) => ({ traffic: { last_minute: minute } }) => {
  if (!minute.seconds) return null;
  return classes.reduce((sum, each) => sum + minute.classes[each], 0) / minute.seconds;
};

/** The same of one point. */
const then = (...classes) => ({ rates }) => classes.reduce((sum, each) => sum + rates[CLASSES.indexOf(each)], 0);

/** Requests that came to no route: redirected to HTTPS, malformed, for another host. */
const recentUnrouted = ({ traffic: { last_minute: minute, unrouted } }) => (minute.seconds ? unrouted.last_minute / minute.seconds : null);

export const PLOTS = [
  {
    title: "Requests",
    note: "per second, the last minute",
    headline: (status) => perSecond(recent(...CLASSES)(status)),
    text: perSecond,
    scale: "linear",
    least: 1,
    stacked: true,
    fold: "mean",
    series: [
      // A connection that becomes a WebSocket is an answer as good as any.
      { name: "2xx", tone: "tone-2", at: then("1xx", "2xx"), now: recent("1xx", "2xx") },
      { name: "3xx", tone: "tone-3", at: then("3xx"), now: recent("3xx") },
      // A client that leaves early is a 499 in the log.
      { name: "4xx", tone: "tone-4", at: then("4xx", "left"), now: recent("4xx", "left") },
      { name: "5xx", tone: "tone-5", at: then("5xx"), now: recent("5xx") },
      { name: "no route", tone: "tone-0", at: ({ rates }) => rates[UNROUTED], now: recentUnrouted },
    ],
  },
  {
    title: "Failed",
    note: "answers of 500 and above, the last minute",
    headline: ({ traffic: { last_minute: minute } }) => share(minute.classes["5xx"], minute.requests),
    text: perSecond,
    scale: "linear",
    least: 1,
    stacked: true,
    fold: "highest",
    series: [{ name: "per second", tone: "tone-5", at: then("5xx"), now: recent("5xx") }],
  },
  {
    title: "Latency",
    note: "99 % of answers within, the last minute",
    headline: ({ traffic: { last_minute: minute } }) => duration(minute.p99),
    text: duration,
    scale: "log",
    least: 0.01,
    fold: "highest",
    series: [
      { name: "p50", tone: "line-1", at: ({ p50 }) => p50, now: ({ traffic }) => traffic.last_minute.p50 },
      { name: "p90", tone: "line-2", at: ({ p90 }) => p90, now: ({ traffic }) => traffic.last_minute.p90 },
      { name: "p99", tone: "line-3", at: ({ p99 }) => p99, now: ({ traffic }) => traffic.last_minute.p99 },
    ],
  },
  {
    title: "Connections",
    note: "open now",
    headline: ({ connections }) => number(connections.open),
    text: number,
    scale: "linear",
    least: 2,
    fold: "highest",
    series: [
      { name: "open", tone: "line-3", at: ({ connections }) => connections, now: ({ connections }) => connections.open },
      { name: "allowed", tone: "line-0", at: () => null, now: ({ connections }) => connections.max },
    ],
  },
  {
    title: "Database pool",
    isThere: ({ database }) => database !== null,
    note: "connections now",
    headline: ({ database: { pool } }) => (pool ? `${number(pool.in_use)} of ${number(pool.max)}` : "–"),
    text: number,
    scale: "linear",
    least: 2,
    fold: "highest",
    series: [
      { name: "in use", tone: "line-3", at: ({ pool }) => pool?.in_use ?? null, now: ({ database }) => database.pool?.in_use },
      { name: "open", tone: "line-1", at: ({ pool }) => pool?.open ?? null, now: ({ database }) => database.pool?.open },
      { name: "waiting", tone: "line-5", at: ({ pool }) => pool?.waiting ?? null, now: ({ database }) => database.pool?.waiting },
    ],
  },
  {
    title: "Memory",
    note: "resident now",
    headline: ({ process }) => bytes(process.memory),
    text: bytes,
    scale: "linear",
    least: 64 * 1024 ** 2,
    top: (highest) => 2 ** Math.ceil(Math.log2(highest * 1.05)),
    fold: "highest",
    series: [{ name: "resident", tone: "line-3", at: ({ memory }) => memory, now: ({ process }) => process.memory }],
  },
];
