"""Rootstock in front of engines behind: its configuration, requests to it, and what came of them."""
import http.client
import json
import socket
import time

from support.rootstock import PATIENCE, SANITIZED, Server

WIRES = {  # provider: what is after the url of the mock
    "openai": "/v1",
    "anthropic": "",
    "gemini": "/v1beta",
    "bedrock": "",
}
KEYS = {  # variables that the providers' keys come from
    "MOCK_KEY": "sk-mock-secret",
    "MOCK_AWS": "AKIDMOCK:mock-secret",
}
QUICK_MS = 1500 if SANITIZED else 500
QUICK = {"connect": f"{QUICK_MS}ms", "first_byte": f"{QUICK_MS}ms", "idle": f"{QUICK_MS}ms"}
TRYING = {"budget": 1, "min_per_second": 10000}
HEALTHY = {"eject_after": 0}


def upstream(mock, provider="openai", **more):
    """`upstream` of a model: one endpoint at the mock, one retry, never ejected."""
    return {"provider": provider, "url": mock.url + WIRES[provider], "model": "there",
            "key_env": "MOCK_AWS" if provider == "bedrock" else "MOCK_KEY",
            **({"region": "eu-test-1"} if provider == "bedrock" else {}),
            "retry": {"max": 1, **TRYING}, "health": HEALTHY, "timeouts": QUICK, **more}


def behind(models, gateway=None, env=None, engine=None, **more):
    """A server with these models behind it: name → upstream. more: further sections."""
    config = {"version": "v0.3", "gateway": gateway or {}, **more,
              "engine": {"models": [{"name": name, "upstream": how} for name, how in models.items()], **(engine or {})}}
    return Server(text=json.dumps(config, indent=1), env={**KEYS, **(env or {})})


def chat(script, model="m", stream=True, **fields):
    """The body of a chat request whose message tells the mock what to do."""
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": f"mock[{script}]"}], **fields}


class Reply:
    """What came of a chat request, read to its end.

    status, headers, body; of a stream also text, error (the error object within it), done ([DONE] came), whole
    (HTTP's own end came), finish, usage, events.
    """

    def __init__(self, response, whole):
        self.status, self.headers, self.whole = response.status, response.headers, whole
        self.text, self.error, self.done, self.finish, self.usage, self.events = "", None, False, [], None, []
        self.body = response.content
        self.json = None
        if response.headers.get_content_type() == "text/event-stream":
            self._events()
        elif self.body:
            self.json = json.loads(self.body.decode("utf-8"))  # strictly
            self.error = self.json.get("error")
            for choice in self.json.get("choices", ()):
                self.text += choice["message"].get("content") or ""
                self.finish.append(choice["finish_reason"])

    def _events(self):
        for block in self.body.decode("utf-8").split("\n\n"):  # strictly: a client's parser would be
            data = [line[6:] for line in block.split("\n") if line.startswith("data: ")]
            if data == ["[DONE]"]:
                self.done = True
            elif data:
                self._event(json.loads("\n".join(data)))

    def _event(self, event):
        self.events.append(event)
        if event.get("error"):
            self.error = event["error"]
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices", ()):
            self.text += choice["delta"].get("content") or ""
            if choice["finish_reason"]:
                self.finish.append(choice["finish_reason"])


def ask(server, body, headers=None, path="/v1/chat/completions", timeout=30):
    """Posts and reads to the end: a Reply."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout * PATIENCE)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        whole = True
        try:
            response.content = response.read()
        except http.client.IncompleteRead as e:
            response.content, whole = e.partial, False
        return Reply(response, whole)
    finally:
        connection.close()


class Client:
    """A chat request by hand: sent at once, read when one likes."""

    def __init__(self, server, body, receive=None, path="/v1/chat/completions"):
        data = json.dumps(body).encode()
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(30 * PATIENCE)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.sendall(b"POST %s HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nConnection: close\r\n"
                            b"Content-Length: %d\r\n\r\n%s" % (path.encode(), len(data), data))
        self.seen = b""

    def read_until(self, what):
        """Reads until the bytes were seen; fails at the end."""
        while what not in self.seen:
            part = self.socket.recv(65536)
            if not part:
                raise AssertionError(f"{what!r} did not come: {self.seen[-500:]!r}")
            self.seen += part
        return self.seen

    def rest(self):
        """Everything to the end."""
        while True:
            part = self.socket.recv(1 << 20)
            if not part:
                return self.seen
            self.seen += part

    def leave(self):
        """Closes; the time of it in us."""
        self.socket.close()
        return time.monotonic_ns() // 1000


def rss(process):
    """Resident memory of a process in bytes."""
    with open(f"/proc/{process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096
