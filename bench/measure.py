"""Takes the targets of bench/run in turn and prints the medians as a Markdown table."""

import os
import re
import statistics
import subprocess
import urllib.parse

ENV = os.environ
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mib(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def wrk(url, pid):
    before = cpu_seconds(pid)
    output = subprocess.run(
        ["taskset", "-c", ENV["load_core"], "wrk", "-t1", f"-c{ENV['connections']}",
         f"-d{ENV['seconds']}s", "--latency", url],
        capture_output=True, text=True, check=True).stdout
    spent = cpu_seconds(pid) - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{url}: {output}")
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))
    p99 = milliseconds(re.search(r"99%\s+(\S+)", output).group(1))
    return rate, p99, spent / requests * 1e6, rss_mib(pid)


def pgbench(path):
    """The statement of GET /api/notes?limit=50, by PostgreSQL's own client on the load's core."""
    url = database_url()
    script = os.path.join(ENV["work"], "page.sql")
    open(script, "w").write(
        "SELECT id, title, body, created_at, updated_at, version FROM notes "
        "ORDER BY created_at DESC, id DESC LIMIT 51;\n")
    output = subprocess.run(
        ["taskset", "-c", ENV["load_core"], ENV["pgbench"], "-n", "-M", "prepared", "-c", ENV["connections"],
         "-j", "1", "-T", ENV["seconds"], "-f", script, url],
        capture_output=True, text=True, check=True).stdout
    return float(re.search(r"tps = ([\d.]+)", output).group(1)), None, None, None


def database_url():
    data = os.path.join(ENV["work"], "data")
    password = open(os.path.join(data, "postgres.password")).read()
    socket = urllib.parse.quote(os.path.join(data, "postgres.socket"), safe="")
    return f"postgres://unibody:{password}@{socket}/unibody"


PLAIN = ("static 1 KiB", "/files/1k.html")
PROXY = ("proxied, 11 bytes", "/proxy/")
TARGETS = [
    (f"{what}, {protocol}", name, lambda url=f"{scheme}://127.0.0.1:{ENV[port]}{path}", pid=pid: wrk(url, pid))
    for what, path in (PLAIN, PROXY)
    for protocol, scheme, ours, theirs in (("HTTP/1.1", "http", "ours", "theirs"), ("TLS", "https", "ours_tls", "theirs_tls"))
    for name, port, pid in (("nginx", theirs, ENV["nginx_worker"]), ("unibody", ours, ENV["unibody_pid"]))
] + [
    ("50 notes from PostgreSQL", "pgbench", lambda: pgbench("page")),
    ("50 notes from PostgreSQL", "unibody, JSON over HTTP/1.1",
     lambda: wrk(f"http://127.0.0.1:{ENV['ours']}/api/notes?limit=50", ENV["unibody_pid"])),
]


def main():
    results = {index: [] for index in range(len(TARGETS))}
    for _ in range(int(ENV["rounds"])):
        for index, (_, _, run) in enumerate(TARGETS):
            results[index].append(run())
    print("| case | server | requests/s | p99 ms | CPU µs/request | RSS MiB |")
    print("|---|---|---:|---:|---:|---:|")
    for index, (case, server, _) in enumerate(TARGETS):
        columns = [statistics.median(values) if values[0] is not None else None
                   for values in zip(*results[index])]
        rate, p99, cpu, rss = columns
        cell = lambda value, form: "" if value is None else format(value, form)
        print(f"| {case} | {server} | {rate:,.0f} | {cell(p99, '.2f')} | {cell(cpu, '.1f')} | {cell(rss, '.0f')} |")


main()
