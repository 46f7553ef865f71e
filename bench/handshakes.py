"""Takes the targets of bench/handshakes in turn and prints the medians as a Markdown table."""

import os
import statistics
import subprocess

ENV = os.environ
TICK = os.sysconf("SC_CLK_TCK")
KEYS = {"ecdsa": "ECDSA P-256", "rsa": "RSA 2048"}


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def handshakes(port, pid, version, kind):
    """Handshakes per second, microseconds of the server's CPU for each, and its share of a core."""
    before = cpu_seconds(pid)
    run = subprocess.run(
        ["taskset", "-c", ENV["load_core"], ENV["load"], f"127.0.0.1:{port}", version, kind,
         ENV["seconds"], ENV["clients"]],
        capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"TLS {version}, {kind}, port {port}: {run.stderr}")
    spent = cpu_seconds(pid) - before
    count, elapsed = run.stdout.split()
    count, elapsed = int(count), float(elapsed)
    return count / elapsed, spent / count * 1e6, spent / elapsed * 100


def main():
    servers = [line.split() for line in open(os.path.join(ENV["work"], "targets"))]
    targets = [(key, version, kind, name, port, pid)
               for key in KEYS for version in ("1.3", "1.2") for kind in ("full", "resumed")
               for its_key, name, port, pid in servers if its_key == key]
    results = {target: [] for target in targets}
    for _ in range(int(ENV["rounds"])):
        for target in targets:
            _, version, kind, _, port, pid = target
            results[target].append(handshakes(port, pid, version, kind))
    print("| key | handshake | server | handshakes/s | CPU µs/handshake | core busy |")
    print("|---|---|---|---:|---:|---:|")
    for (key, version, kind, name, _, _), rounds in results.items():
        rate, cpu, busy = (statistics.median(column) for column in zip(*rounds))
        print(f"| {KEYS[key]} | TLS {version}, {kind} | {name} | {rate:,.0f} | {cpu:.0f} | {busy:.0f} % |")


main()
