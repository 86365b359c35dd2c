"""Real servers for end-to-end tests: the rootstock program and redis-server, on free loopback ports."""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(os.environ.get("ROOTSTOCK_ROOT", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("ROOTSTOCK_BUILD", ROOT / "build-test"))
PROGRAM = BUILD / "gateway" / "rootstock"
DEMO = ROOT / "config" / "policies" / "demo.yaml"
SANITIZED = any(s in BUILD.name for s in ("asan", "tsan"))
PATIENCE = 8 if SANITIZED else 1  # sanitizers are slow; a timing never decides a test


def free_port():
    """A loopback port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, seconds, what):
    """Polls until condition() is true; fails loudly otherwise."""
    deadline = time.monotonic() + seconds * PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError(f"{what} did not come within {seconds * PATIENCE} s")


def accepts(port):
    """Whether somebody listens on the port."""
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def metric(server, name):
    """The value of a metric without labels."""
    page = server.get("/metrics")[2].decode()
    return float(re.search(rf"^rootstock_{name} ([0-9.e+-]+)$", page, re.MULTILINE).group(1))


class Redis:
    """A redis-server of its own, without persistence."""

    def __init__(self):
        if not shutil.which("redis-server"):
            raise FileNotFoundError("redis-server is not installed")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = None
        self.start()

    def start(self):
        """Starts it on its port and waits until it accepts."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: accepts(self.port), 10, "redis-server")

    def stop(self):
        """Ends it at once."""
        self.process.kill()
        self.process.wait()


class Server:
    """`rootstock serve` on a copy of the demo's configuration and adapters.

    redis: a Redis whose catalog is used instead of the copied folder. edit: a function that changes the text of
    the configuration before it is written. text: the configuration, instead of the demo's.
    """

    def __init__(self, redis=None, edit=None, env=None, text=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rootstock-e2e-"))
        self.port = free_port()
        self.redis = redis
        if text is None:
            shutil.copytree(ROOT / "models" / "adapters", self.folder / "adapters")
            text = DEMO.read_text(encoding="utf-8")
        text = text.replace("../../models/demo.gguf", str(ROOT / "models" / "demo.gguf"))
        text = text.replace("../../models/adapters", str(self.folder / "adapters"))
        text = text.replace("../../build/blobs", str(self.folder / "blobs"))
        self.config = self.folder / "config.yaml"
        self.config.write_text(edit(text) if edit else text, encoding="utf-8")
        self.env = {**os.environ, **(env or {})}
        self.env.pop("ROOTSTOCK_REDIS_URL", None)
        if redis:
            self.env["ROOTSTOCK_REDIS_URL"] = redis.url
            self.push_all()
        self.log = open(self.folder / "log", "w+", encoding="utf-8")
        self.process = None
        self.start()

    def start(self):
        """Starts the program and waits until it is ready."""
        command = [str(PROGRAM), "serve", "-c", str(self.config), "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, env=self.env, stdout=self.log, stderr=self.log)
        wait_for(self._ready, 30, "rootstock serve")

    def _ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"rootstock ended with {self.process.returncode}:\n{self.log_text()}")
        try:
            return self.get("/ready")[0] == 200
        except OSError:
            return False

    def log_text(self):
        """What it has printed so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def cli(self, *arguments, check=True, text=None, config=True):
        """Runs a rootstock command, against this configuration where it takes one: as -c, after the arguments."""
        command = [str(PROGRAM), *arguments, *(("-c", str(self.config)) if config else ())]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=check, input=text,
                              timeout=60 * PATIENCE)

    def push_all(self):
        """Publishes the demo's adapters, oldest revision first, so that the last one is prod."""
        for folder in sorted((self.folder / "adapters").iterdir()):
            for revision in sorted(p for p in folder.iterdir() if p.name.isdigit()):
                self.cli("adapters", "push", folder.name, str(revision), "--base", "demo", "--alias", "prod")

    def connect(self, timeout=60):
        """A plain HTTP connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * PATIENCE)

    def request(self, method, path, body=None, headers=None):
        """One request: (status, headers, bytes)."""
        connection = self.connect()
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        sent = {"Content-Type": "application/json"} if data is not None else {}
        connection.request(method, path, data, {**sent, **(headers or {})})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    def get(self, path):
        """GET: (status, headers, bytes)."""
        return self.request("GET", path)

    def chat(self, content, model="demo", **fields):
        """One greedy chat completion as (message text, headers); fails on anything but 200."""
        body = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": content}], **fields}
        status, headers, data = self.request("POST", "/v1/chat/completions", body)
        if status != 200:
            raise AssertionError(f"{status}: {data[:500]!r}")
        return json.loads(data)["choices"][0]["message"]["content"], headers

    def restart(self):
        """SIGTERM, then the same program again: what it kept in files is still there."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60 * PATIENCE)
        self.start()

    def stop(self, expect=0):
        """SIGTERM, then checks the exit status; the folder goes."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=60 * PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        text = self.log_text()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if expect is not None and status != expect:
            raise AssertionError(f"rootstock ended with {status}:\n{text[-4000:]}")


class Stream:
    """A streamed chat completion read by hand, event by event, as a thin client would."""

    def __init__(self, server, content, model, **fields):
        self.connection = server.connect()
        body = {"model": model, "temperature": 0, "stream": True, "messages": [{"role": "user", "content": content}],
                **fields}
        self.connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        self.response = self.connection.getresponse()
        self.headers = self.response.headers
        self.status = self.response.status

    def events(self):
        """Yields each event's JSON; returns at [DONE]; an EOF without it is an error."""
        for line in self.response:
            line = line.rstrip(b"\r\n")
            if not line.startswith(b"data: "):
                continue
            if line == b"data: [DONE]":
                return
            yield json.loads(line[6:])
        raise AssertionError("the stream ended without [DONE]")

    def text(self):
        """All content deltas joined; an in-band error fails."""
        parts = []
        for event in self.events():
            if "error" in event:
                raise AssertionError(f"error in the stream: {event['error']}")
            for choice in event["choices"]:
                parts.append(choice["delta"].get("content") or "")
        return "".join(parts)

    def close(self):
        """Drops the connection, at whatever point the stream is."""
        self.connection.close()


def heldout(name):
    """The held-out cases of one adapter revision ("sql.2"): [{"prompt", "answer"}]."""
    path = ROOT / "models" / "heldout" / f"{name}.jsonl"
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]
