"""What the benchmarks share: servers on one core, load on another, all in one run, in turn.

A benchmark starts its servers with Bench.start, lists its Cases, and calls Bench.compare. Every case
is run once in each round, so that whatever else the machine does meets all servers alike; the
table has the medians. Figures are for comparing within one table, never between tables.

Environment: ROUNDS (3), SECONDS (3, of each case in each round), BINARY (another unibody),
ONLY (a part of a case's name).
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVER_CORE = "0"
LOAD_CORE = "1"
ROUNDS = int(os.environ.get("ROUNDS", 3))
SECONDS = int(os.environ.get("SECONDS", 3))
ONLY = os.environ.get("ONLY", "")
TICK = os.sysconf("SC_CLK_TCK")
# How long a server may take until it answers; the embedded PostgreSQL is made in that time.
PATIENCE = 60


@dataclasses.dataclass
class Server:
    """A running server, and the process whose CPU time and memory count as its own."""

    name: str
    pid: int
    http: int
    https: int

    def url(self, scheme, path):
        return f"{scheme}://127.0.0.1:{self.https if scheme == 'https' else self.http}{path}"

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss_mib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


@dataclasses.dataclass
class Figures:
    rate: float
    p50: float | None = None
    p99: float | None = None
    cpu: float | None = None
    rss: float | None = None


class Bench:
    """The scratch directory and the processes of one run; both are gone at its end."""

    def __init__(self, *tools):
        missing = [tool for tool in ("openssl", "taskset", *tools) if shutil.which(tool) is None]
        if missing:
            sys.exit(f"{sys.argv[0]}: install first: {' '.join(missing)}")
        if os.cpu_count() < 2:
            sys.exit(f"{sys.argv[0]}: needs two cores, one for the servers and one for the load")
        self.processes = []
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="unibody-bench."))
        self.work.chmod(0o755)
        self.certificate = self.work / "certificate.pem"
        self.key = self.work / "key.pem"

    def __enter__(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", self.key, "-out", self.certificate],
            check=True, stderr=subprocess.DEVNULL)
        self.key.chmod(0o600)
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(self.work)

    def start(self, name, command, ready, core=SERVER_CORE, environment=None):
        """Starts `command` on one core and waits until `ready` (a URL) answers."""
        log = self.work / f"{name}.log"
        process = subprocess.Popen(
            ["taskset", "-c", core, *map(str, command)], cwd=self.work, stdout=log.open("wb"),
            stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})})
        self.processes.append(process)
        end = time.monotonic() + PATIENCE
        while not answers(ready):
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{name} does not serve {ready}:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)
        return process.pid

    def nginx(self, name, http_block, ready, http, https):
        """nginx of the distribution with one worker."""
        directory = self.work / name
        directory.mkdir()
        temporary = "\n".join(
            f"{kind}_temp_path {directory};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(f"""
pid {directory}/pid; worker_processes 1; error_log {directory}/error.log; daemon off; {user}
events {{ worker_connections 8192; }}
http {{
  include /etc/nginx/mime.types;
  access_log {directory}/access.log combined;
  {temporary}
  keepalive_requests 100000000;
  {http_block}
}}
""")
        master = self.start(name, ["nginx", "-p", directory, "-c", directory / "nginx.conf"], ready)
        worker = pathlib.Path(f"/proc/{master}/task/{master}/children").read_text().split()[0]
        return Server(name, int(worker), http, https)

    def unibody(self, config, ready, http, https):
        """unibody with one worker; `config` is what comes after [server]'s and [tls]'s own keys."""
        path = self.work / "config.toml"
        path.write_text(f"""
[server]
http = ["127.0.0.1:{http}"]
https = ["127.0.0.1:{https}"]
hosts = []
workers = 1
admin = ""
max_connections_per_ip = 10000
[tls]
mode = "files"
redirect = false
[[tls.files]]
hosts = ["localhost"]
cert = "{self.certificate}"
key = "{self.key}"
{config}
""")
        pid = self.start("unibody", [binary(), "--config", path], ready)
        return Server("unibody", pid, http, https)

    def compare(self, cases, unit="request"):
        """Runs the cases in turn, round after round, and prints the medians."""
        cases = [case for case in cases if ONLY in case.name]
        results = [[] for _ in cases]
        for turn in range(ROUNDS):
            for case, figures in zip(cases, results):
                print(f"\rround {turn + 1} of {ROUNDS}: {case.name}, {case.server}\033[K", end="", file=sys.stderr)
                figures.append(case.run())
        print("\r\033[K", end="", file=sys.stderr)
        print(f"| case | server | {unit}s/s | p50 ms | p99 ms | CPU µs/{unit} | RSS MiB |")
        print("|---|---|---:|---:|---:|---:|---:|")
        for case, figures in zip(cases, results):
            cells = (median_cell(figures, field, form) for field, form in
                     (("rate", ",.0f"), ("p50", ".2f"), ("p99", ".2f"), ("cpu", ".1f"), ("rss", ".0f")))
            print(f"| {case.name} | {case.server} | {' | '.join(cells)} |")


@dataclasses.dataclass
class Case:
    """`run` gives the Figures of one round."""

    name: str
    server: str
    run: object


def median_cell(figures, field, form):
    values = [getattr(each, field) for each in figures]
    return "" if None in values else format(statistics.median(values), form)


def binary():
    """The release build, made if it isn't there."""
    if "BINARY" in os.environ:
        return pathlib.Path(os.environ["BINARY"]).resolve()
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release" / "unibody"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(url):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def wrk(server, url, connections=32, headers=()):
    """Keep-alive HTTP/1.1, one request in flight per connection."""
    options = [option for header in headers for option in ("-H", header)]
    before = server.cpu_seconds()
    output = load(["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", *options, url])
    spent = server.cpu_seconds() - before
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"{server.name}, {url}: {output}")
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    if requests == 0:
        sys.exit(f"{server.name}, {url}: no answer in {SECONDS} s; try more SECONDS")
    return Figures(
        rate=float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1)),
        p50=milliseconds(re.search(r"^\s+50%\s+(\S+)", output, re.M).group(1)),
        p99=milliseconds(re.search(r"^\s+99%\s+(\S+)", output, re.M).group(1)),
        cpu=spent / requests * 1e6,
        rss=server.rss_mib())


def h2load(bench, server, url, connections=32, streams=1, headers=(), rate=None, protocol="HTTP/2"):
    """HTTP/2, or HTTP/1.1 by its name; `streams` requests in flight per connection. With `rate` no more than so
    many requests a second on all connections together."""
    options = [option for header in headers for option in ("-H", header)]
    if protocol != "HTTP/2":
        options.append("--h1")
    if rate:
        options.append(f"--rps={rate / connections}")
    log = bench.work / "h2load.log"
    log.unlink(missing_ok=True)
    before = server.cpu_seconds()
    output = load(["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{SECONDS}",
                   f"--log-file={log}", *options, url])
    spent = server.cpu_seconds() - before
    failed, errored = re.search(r"(\d+) failed, (\d+) errored", output).groups()
    succeeded = int(re.search(r"status codes: (\d+) 2xx", output).group(1))
    if (failed, errored) != ("0", "0") or succeeded == 0:
        sys.exit(f"{server.name}, {url}: {output}")
    times = sorted(int(line.split()[2]) for line in log.open())
    return Figures(
        rate=float(re.search(r"finished in .*?, ([\d.]+) req/s", output).group(1)),
        p50=times[len(times) // 2] / 1000,
        p99=times[len(times) * 99 // 100] / 1000,
        cpu=spent / succeeded * 1e6,
        rss=server.rss_mib())


def load(command):
    done = subprocess.run(["taskset", "-c", LOAD_CORE, *map(str, command)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr}{done.stdout}")
    return done.stdout


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
