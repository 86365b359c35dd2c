#!/usr/bin/env python3
"""What a request costs in the gateway, beside nginx, HAProxy and Portkey in the same run.

    tests/perf/proxy.py [--build build] [--rounds 5] [--seconds 5] [--portkey FOLDER] [--only CELL,…] [--soak N]

Each subject stands before the same mock engine (build/tests/support/mock_upstream) on a core of its own; mock and load
(build/tests/perf/http_load) have another. Subjects take turns, and the medians of the rounds are printed, with the
quartiles of what ratios are made of. CPU is user and system time of the subject's processes over what they completed.
FOLDER holds `npm i @portkey-ai/gateway@1.15.2 @hono/node-server@1.13.5 hono@4.9.7 @hono/node-ws@1.2.0`; nginx and
HAProxy are Debian's. What is absent is said and left out. Needs two cores and `ulimit -n` of 20000.

Cells: whole (1 KB, 16 and 64 connections, as fast as it goes), paced (1 KB, the same rates for all), alone (one
connection), frames (paced streams), memory (idle streams), many (5,000 paced streams), large (a prompt of 10 MB), soak
(N requests; memory at its tenths). Where it goes as fast as it can, a slower subject pays more for each request:
whoever it writes to has fallen asleep, and is woken by its write.

The gateway is to be built as it is released: meson setup build-perf -Dbuildtype=release -Db_ndebug=false -Db_lto=true.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEY = "perf-key"
TARGETS = {  # of the reference this project is measured by: must, target, stretch
    "CPU a request": "at most 2.5 times nginx's; stretch 1.25",
    "throughput": "at least 15 times Portkey's; stretch 33",
    "added p50/p99, one connection": "200/400 us; stretch 60/75",
    "CPU a frame": "at most 2 times nginx's; stretch HAProxy's",
    "memory a stream": "40 KB; stretch 20",
}


def free_port():
    """A loopback port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(pid):
    """A process and all below it."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def cpu_us(pid):
    """User and system time of a process tree, in microseconds."""
    ticks = 0
    for one in tree(pid):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1e6 / os.sysconf("SC_CLK_TCK")


def rss_kb(pid):
    """Resident memory of a process tree."""
    total = 0
    for one in tree(pid):
        for line in pathlib.Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                total += int(line.split()[1])
    return total


class Subject:
    """Something that passes requests on, on core 0."""

    def __init__(self, name, command, port, headers=(), env=None, ready="/v1/models"):
        self.name, self.port, self.headers = name, port, list(headers)
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(["taskset", "-c", "0", *command], stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(env or {})}) if command else None
        deadline = time.monotonic() + 30
        while self.process:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                sys.exit(f"{name} did not start: {self.log.read()[-2000:].decode()}")
            time.sleep(0.05)
        _ = ready

    def cpu(self):
        """Microseconds so far; of the mock itself: none are counted."""
        return cpu_us(self.process.pid) if self.process else 0.0

    def rss(self):
        """Resident kilobytes."""
        return rss_kb(self.process.pid) if self.process else 0

    def stop(self):
        """Ends it."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()


class Bench:
    """The mock, the subjects, and one load at a time."""

    def __init__(self, args):
        self.args = args
        self.build = pathlib.Path(args.build).resolve()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-perf-"))
        mock = self.build / "tests" / "support" / "mock_upstream"
        self.mock = subprocess.Popen(["taskset", "-c", "1", str(mock), "--port", "0"], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE)
        self.mock_port = int(self.mock.stdout.readline())
        self.subjects = [Subject("direct", None, self.mock_port), *self.nginx(logs=False), *self.nginx(logs=True),
                         *self.haproxy(), *self.portkey(), self.rootstock("rootstock, bare", full=False),
                         self.rootstock("rootstock", full=True)]

    def nginx(self, logs):
        """nginx, one worker, as a proxy that does not buffer; logs: a line a request, as it does unless told not to."""
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        if not program:
            print("nginx is not installed: left out")
            return []
        port, config = free_port(), self.folder / f"nginx-{logs}.conf"
        log = self.folder / "access.log" if logs else "off"
        config.write_text(f"""daemon off; worker_processes 1; pid {config}.pid; error_log /dev/null;
worker_rlimit_nofile 20000;
events {{ worker_connections 20000; }}
http {{ access_log {log}; client_body_temp_path {self.folder}; proxy_temp_path {self.folder};
  client_max_body_size 64m; fastcgi_temp_path {self.folder}; uwsgi_temp_path {self.folder}; scgi_temp_path {self.folder};
  keepalive_requests 10000000;
  upstream mock {{ server 127.0.0.1:{self.mock_port}; keepalive 512; keepalive_requests 10000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://mock; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_buffering off; }} }} }}""", encoding="utf-8")
        return [Subject("nginx, log" if logs else "nginx", [program, "-p", str(self.folder), "-c", str(config)], port)]

    def haproxy(self):
        """HAProxy, one thread."""
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        if not program:
            print("HAProxy is not installed: left out")
            return []
        port, config = free_port(), self.folder / "haproxy.cfg"
        config.write_text(f"""global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen mock
  bind 127.0.0.1:{port}
  server mock 127.0.0.1:{self.mock_port}
""", encoding="utf-8")
        return [Subject("HAProxy", [program, "-db", "-f", str(config)], port)]

    def portkey(self):
        """Portkey's gateway, where its folder is given."""
        start = pathlib.Path(self.args.portkey or "/nowhere") / "node_modules/@portkey-ai/gateway/build/start-server.js"
        if not start.exists():
            print("Portkey is not there (--portkey FOLDER): left out")
            return []
        port = free_port()
        return [Subject("Portkey", ["node", str(start), f"--port={port}", "--headless"], port,
                        ["x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{self.mock_port}/v1",
                         "authorization: Bearer x"], {"NODE_ENV": "production"})]

    def rootstock(self, name, full):
        """The gateway; full: keys, prices, health checks, ejection, retries, logs."""
        port, config = free_port(), self.folder / f"gateway-{full}.yaml"
        more = "health: {path: /_mock/stats, interval: 1s}, affinity: auto, " if full else ""
        price = "\n      pricing: {prompt_per_1m: 1, completion_per_1m: 2}" if full else ""
        auth = "gateway: {auth: {keys_env: ROOTSTOCK_PERF_KEYS}}" if full else "gateway: {log_level: error}"
        config.write_text(f"""version: v0.3
engine:
  models:
    - name: m
      upstream: {{{more}provider: openai, url: "http://127.0.0.1:{self.mock_port}/v1"}}{price}
adapters: {{catalog: {{type: directory, path: {self.folder}}}}}
{auth}
""", encoding="utf-8")
        program = self.build / "gateway" / "rootstock"
        headers = [f"authorization: Bearer {KEY}"] if full else []
        return Subject(name, [str(program), "serve", "-c", str(config), "--listen", f"127.0.0.1:{port}"], port, headers,
                       {"ROOTSTOCK_PERF_KEYS": f"{KEY}=perf"})

    def load(self, subject, body, *options):
        """One run of http_load: its JSON."""
        path = self.folder / "body.json"
        path.write_bytes(body)
        headers = [x for h in subject.headers for x in ("--header", h)]
        ran = subprocess.run(["taskset", "-c", "1", str(self.build / "tests" / "perf" / "http_load"), str(subject.port),
                              f"@{path}", *headers, *map(str, options)], capture_output=True, text=True, check=False)
        if not ran.stdout:
            sys.exit(f"http_load on {subject.name}: {ran.stderr}")
        return json.loads(ran.stdout)

    def stop(self):
        """Ends all."""
        for subject in self.subjects:
            subject.stop()
        self.mock.stdin.close()
        self.mock.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)


def wrong(got):
    """How many of a load's answers were none, or not right."""
    return got["errors"] + got["wrong"] + got["unfinished"]


def chat(script="", stream=False, size=1024):
    """A chat request of about so many bytes, whose engine does what the script says."""
    text = (f"mock[{script}] " if script else "") + "lorem ipsum dolor sit amet " * (size // 27)
    return json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": text[:size]}]}).encode()


def quartiles(values):
    """ "median (quartile … quartile)" """
    if len(values) < 2:
        return f"{values[0]:.1f}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} ({low:.1f} … {high:.1f})"


def table(title, rows, ours="rootstock"):
    """Prints what each subject had, and ratios to ours."""
    print(f"\n{title}")
    base = statistics.median(rows[ours]) if ours in rows else None
    for name, values in rows.items():
        ratio = f"   ours / this: {base / statistics.median(values):.2f}" if base and statistics.median(values) else ""
        print(f"  {name:16} {quartiles(values):>32}{ratio}")


def cell_whole(b):
    """1 KB, as fast as it goes."""
    for connections in (16, 64):
        cpu, rate = {}, {}
        for _ in range(b.args.rounds):
            for s in b.subjects:
                before, since = s.cpu(), time.monotonic()
                got = b.load(s, chat(), "--connections", connections, "--seconds", b.args.seconds)
                rate.setdefault(s.name, []).append(got["requests"] / (time.monotonic() - since))
                if s.process:
                    cpu.setdefault(s.name, []).append((s.cpu() - before) / max(got["requests"], 1))
                if wrong(got):
                    print(f"  {s.name}: {wrong(got)} of {got['requests']} failed")
        table(f"CPU us a request (1 KB, {connections} connections)", cpu)
        table(f"requests a second on one core ({connections} connections)", rate)


def cell_paced(b):
    """1 KB at rates that all reach: what a request costs under the same load."""
    for rate in (5000, 10000, 20000):
        cpu = {}
        for _ in range(b.args.rounds):
            for s in b.subjects:
                if not s.process or s.name == "Portkey":
                    continue
                before = s.cpu()
                got = b.load(s, chat(), "--connections", 64, "--rate", rate, "--seconds", b.args.seconds)
                cpu.setdefault(s.name, []).append((s.cpu() - before) / max(got["requests"], 1))
                if wrong(got):
                    print(f"  {s.name}: {wrong(got)} of {got['requests']} failed")
        table(f"CPU us a request (1 KB, {rate} a second)", cpu)


def cell_alone(b):
    """One connection: what is added to the mock's own latency."""
    p50, p99 = {}, {}
    for _ in range(b.args.rounds):
        for s in b.subjects:
            got = b.load(s, chat(), "--connections", 1, "--seconds", b.args.seconds)
            p50.setdefault(s.name, []).append(got["whole_us"]["p50"])
            p99.setdefault(s.name, []).append(got["whole_us"]["p99"])
    added = [{n: [x - statistics.median(d["direct"]) for x in v] for n, v in d.items() if n != "direct"}
             for d in (p50, p99)]
    table("added us at one connection, p50", added[0])
    table("added us at one connection, p99", added[1])


def cell_frames(b):
    """500 streams of 64 frames, 20 ms apart."""
    cpu, seconds = {}, {}
    for _ in range(b.args.rounds):
        for s in b.subjects:
            before, since = s.cpu(), time.monotonic()
            got = b.load(s, chat("frames=64 gap=20", True), "--connections", 500, "--requests", 500, "--frames", 64)
            seconds.setdefault(s.name, []).append(time.monotonic() - since)
            if s.process:
                cpu.setdefault(s.name, []).append((s.cpu() - before) / (500 * 64))
            if wrong(got):
                print(f"  {s.name}: {wrong(got)} of 500 streams were not right")
    table("CPU us a frame (500 streams x 64 frames, 20 ms apart)", cpu)
    table("seconds for them (1.3 would be ideal)", seconds)


def cell_memory(b):
    """Idle streams: resident memory each."""
    rows, n = {}, 1000
    for s in b.subjects:
        if not s.process:
            continue
        b.load(s, chat("frames=4", True), "--connections", 32, "--requests", 256)
        before = s.rss()
        ran = subprocess.Popen([sys.executable, __file__, "--hold", str(s.port), "--streams", str(n),
                                "--headers", json.dumps(s.headers)], stdout=subprocess.PIPE)
        ran.stdout.readline()
        rows[s.name] = [(s.rss() - before) / n]
        ran.terminate()
        ran.wait()
        time.sleep(1)
    table(f"resident KB a stream ({n} that wait for their next frame)", rows)


def cell_many(b):
    """5,000 streams, a frame a second each."""
    for s in b.subjects:
        if s.name not in ("direct", "rootstock"):
            continue
        before = s.cpu()
        got = b.load(s, chat("frames=10 gap=1000", True), "--connections", 5000, "--requests", 5000, "--frames", 10)
        print(f"\n5,000 streams of 10 frames a second apart, {s.name}: {got['requests']} right, {wrong(got)} failed, "
              f"CPU {(s.cpu() - before) / 1e6:.1f} s, resident {s.rss() / 1024:.0f} MB")


def cell_large(b):
    """A prompt of 10 MB."""
    body = chat(size=10 << 20)
    for s in b.subjects:
        before, since = s.cpu(), time.monotonic()
        got = b.load(s, body, "--connections", 1, "--requests", 20)
        ms = (time.monotonic() - since) * 1000 / 20
        print(f"10 MB prompt, {s.name}: {got['requests']} of 20 answered, {ms:.1f} ms each, CPU "
              f"{(s.cpu() - before) / 20e3:.1f} ms, resident {s.rss() / 1024:.0f} MB")


def cell_soak(b):
    """Memory over N requests."""
    s = b.subjects[-1]
    for tenth in range(10):
        got = b.load(s, chat(), "--connections", 32, "--requests", b.args.soak // 10)
        print(f"after {(tenth + 1) * (b.args.soak // 10)} requests: resident {s.rss()} KB, {wrong(got)} failed")


def hold(port, n, headers):
    """Opens n streams whose second frame does not come, and waits."""
    body = chat("hold@frame:1", True)
    head = "".join(f"{h}\r\n" for h in headers)
    data = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    held = []
    for _ in range(n):
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(data)
        held.append(s)
    for s in held:
        s.recv(1 << 16)
    time.sleep(1)
    print("held", flush=True)
    time.sleep(600)


def main():
    """The command."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=ROOT / "build-perf")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=5)
    p.add_argument("--portkey")
    p.add_argument("--only", default="whole,paced,alone,frames,memory,many,large")
    p.add_argument("--soak", type=int, default=1000000)
    for inner in ("--hold", "--streams", "--headers"):
        p.add_argument(inner, help=argparse.SUPPRESS)
    args = p.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 20000)), hard))
    if args.hold:
        hold(int(args.hold), int(args.streams), json.loads(args.headers))
        return
    bench = Bench(args)
    try:
        for name in args.only.split(","):
            globals()[f"cell_{name}"](bench)
        print("\ntargets")
        for what, target in TARGETS.items():
            print(f"  {what}: {target}")
    finally:
        bench.stop()


if __name__ == "__main__":
    main()
