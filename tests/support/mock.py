"""The mock upstream (mock_upstream.h) as a process, and what it saw."""
import http.client
import json
import pathlib
import subprocess

from support.rootstock import BUILD, PATIENCE

PROGRAM = pathlib.Path(BUILD) / "tests" / "support" / "mock_upstream"


def text_of(frames, size=0):
    """What an answer of so many text frames says."""
    return "".join(f"t{i} ".ljust(size, "x")[:-1] + " " if size > len(f"t{i} ") else f"t{i} " for i in range(frames))


class Mock:
    """One mock; tls: (certificate, key) files, a listener each. ports[0] is the plain one."""

    def __init__(self, *tls, port=0, address="127.0.0.1"):
        self.tls, self.port, self.address = tls, port, address
        self.process = None
        self.start()

    def start(self):
        """Starts it; again after stop: on the same plain port."""
        words = [w for pair in self.tls for w in ("--tls", *map(str, pair))]
        command = [str(PROGRAM), "--address", self.address, "--port", str(self.port), *words]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ports = [int(self.process.stdout.readline()) for _ in range(1 + len(self.tls))]
        self.port = self.ports[0]
        self.url = f"http://{self.address}:{self.port}"

    def stop(self):
        """Ends it; all connections are reset or closed."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(timeout=20 * PATIENCE)
        self.process.stdout.close()

    def ask(self, method, path, body=None):
        """A request to it: bytes."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=20 * PATIENCE)
        try:
            connection.request(method, path, body)
            return connection.getresponse().read()
        finally:
            connection.close()

    def counts(self):
        """Counters of all (mock_stats.h)."""
        return json.loads(self.ask("GET", "/_mock/stats"))

    def tries(self, name):
        """The tries of the requests with "id=name", oldest first; times in us of time.monotonic()."""
        return json.loads(self.ask("GET", f"/_mock/stats?id={name}"))

    def request(self, name):
        """(head, body) of the last request with that id, as it came."""
        head, _, body = self.ask("GET", f"/_mock/request?id={name}").partition(b"\r\n\r\n")
        return head.decode("latin-1"), body

    def release(self, name):
        """What holds goes on."""
        self.ask("POST", f"/_mock/release?id={name}", b"")

    def usual(self, script):
        """The script of requests without one; empty: none."""
        self.ask("POST", "/_mock", script.encode())
