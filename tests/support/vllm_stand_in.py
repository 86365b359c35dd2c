#!/usr/bin/env python3
"""An engine with adapters, as vLLM, SGLang or llama-server behave, without a model.

    vllm_stand_in.py --port 0 --mode vllm --max-loras 4 --max-cpu-loras 4

What it answers says which adapter's FILES answered: their digest, taken from lora_path when the engine loaded them.
It keeps the two tables that vLLM has, names (of the server) and slots (of the engine), because the faults lie between
them. It prints its port, and ends when its standard input does.

Control: GET /_stand_in/stats, POST /_stand_in with {"bugs": [...], "load_ms": n, "decode_ms": n}.
Bugs, as reported of the engines:
  advice      unloading takes the name away and leaves the slot
  eager       a load with full slots evicts the one loaded first, in use or not; what it was answering goes on with
              the wrong weights
  stale_name  a name that was loaded before answers with its old weights, whatever was loaded since
  evict_404   what the engine evicted is unknown to the server, not loaded again
  fatal_load  a load that fails kills the engine: everything is a 500 from then on
Violations that it counts: `over` (more names than slots and the cache of them allow, at any moment), `mixed` (more
adapters in flight than slots), `busy_unload` (unloaded while it was answering), `wrong` (answered with other weights
than its name's), `reused` (a name that meant other files before).
"""
import argparse
import asyncio
import collections
import hashlib
import json
import pathlib
import sys

BASE = "base"
RANK_DEFAULT = 16


def files_digest(folder):
    """What an adapter's files are: names and content."""
    h = hashlib.sha256()
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.is_file():
            h.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return h.hexdigest()


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status, kind, message):
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


class Adapter:
    """A name of the server, or a slot of the engine."""

    def __init__(self, name, path, digest):
        self.name, self.path, self.digest = name, path, digest
        self.running = 0


class Engine:
    """The state of all of them."""

    def __init__(self, options):
        self.options = options
        self.mode = options.mode
        self.bugs = set(filter(None, options.bugs.split(",")))
        self.load_ms, self.decode_ms = options.load_ms, options.decode_ms
        self.names = collections.OrderedDict()  # name -> Adapter
        self.slots = collections.OrderedDict()  # name -> Adapter, longest unused first
        self.loading = set()
        self.locks = {}
        self.ever = {}  # name -> digest of the first files of that name
        self.dead = False
        self.running = collections.Counter()
        self.fixed = []  # of llama-server
        for i, path in enumerate(options.lora):
            self.fixed.append({"id": i, "path": path, "scale": 0.0, "digest": files_digest(path)})
        self.counts = collections.Counter()
        self.peak_names = self.peak_running = 0
        self.asked = collections.Counter()

    # ---- the server's calls ----

    def limit(self):
        """Names that may be there at once."""
        return self.options.limit or self.options.max_cpu_loras

    def watch(self):
        """At every moment: the limits."""
        n = len(self.names) + len(self.loading - set(self.names))
        self.peak_names = max(self.peak_names, n)
        if n > self.limit():
            self.counts["over"] += 1
        mixed = sum(1 for c in self.running.values() if c)
        self.peak_running = max(self.peak_running, mixed)
        if mixed > self.options.max_loras:
            self.counts["mixed"] += 1

    async def load(self, name, path):
        """load_lora_adapter; one at a time for a name."""
        if not name or not path:
            raise Refused(400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
        async with self.locks.setdefault(name, asyncio.Lock()):
            if name in self.names:
                raise Refused(400, "InvalidUserInput",
                              f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in "
                              "place, set 'load_inplace' to True.")
            self.loading.add(name)
            self.watch()
            try:
                await asyncio.sleep(self.load_ms / 1000)
                digest = self.read(name, path)
                self.names[name] = Adapter(name, path, digest)
                self.counts["loads"] += 1
                if self.ever.setdefault(name, digest) != digest:
                    self.counts["reused"] += 1
                self.activate(self.names[name])
            finally:
                self.loading.discard(name)
            self.watch()

    def read(self, name, path):
        """The files of lora_path, or why not."""
        try:
            config = json.loads((pathlib.Path(path) / "adapter_config.json").read_text(encoding="utf-8"))
            digest = files_digest(path)
        except OSError as e:
            self.counts["failed_loads"] += 1
            self.dead = self.dead or "fatal_load" in self.bugs
            raise Refused(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}") from e
        except ValueError as e:
            self.counts["failed_loads"] += 1
            self.dead = self.dead or "fatal_load" in self.bugs
            raise Refused(500, "InternalServerError", f"Call to add_lora method failed: {e}") from e
        rank = max([config.get("r", 0), *config.get("rank_pattern", {}).values()])
        if rank > self.options.max_lora_rank:
            self.counts["failed_loads"] += 1
            self.dead = self.dead or "fatal_load" in self.bugs
            raise Refused(400, "BadRequestError", f"Call to add_lora method failed: LoRA rank {rank} is greater than "
                          f"max_lora_rank {self.options.max_lora_rank}.")
        return digest

    def unload(self, name):
        """unload_lora_adapter."""
        a = self.names.get(name)
        if not a:
            raise Refused(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        if self.running[name]:
            self.counts["busy_unload"] += 1
        self.counts["unloads"] += 1
        del self.names[name]
        if "advice" not in self.bugs:
            self.slots.pop(name, None)

    # ---- the engine's slots ----

    def activate(self, a):
        """The slot of an adapter, loaded from its path where there is none."""
        if a.name in self.slots:
            slot = self.slots[a.name]
            if slot.digest != a.digest and "stale_name" not in self.bugs:
                slot.digest = a.digest
            self.slots.move_to_end(a.name)
            return slot
        while len(self.slots) >= self.options.max_loras:
            eager = "eager" in self.bugs
            idle = [n for n in self.slots if not self.running[n]]
            victim = next(iter(self.slots)) if eager or not idle else idle[0]
            slot = self.slots.pop(victim)
            self.counts["evictions"] += 1
            if self.running[victim]:
                self.counts["hot_evictions"] += 1
                slot.digest = a.digest  # whoever it is answering gets the newcomer's weights
            if "evict_404" in self.bugs:
                self.names.pop(victim, None)
        stale = self.ever.get(a.name) if "stale_name" in self.bugs else None
        self.slots[a.name] = Adapter(a.name, a.path, stale or a.digest)
        return self.slots[a.name]

    # ---- answering ----

    def find(self, body):
        """(name as it was asked, slot or None)."""
        if self.dead:
            raise Refused(500, "InternalServerError", "EngineCore encountered an issue. See stack trace.")
        model = body.get("model", "")
        if self.mode == "llama-server" or model == BASE:
            return model, None
        name = model
        if self.mode == "sglang":
            base, _, name = model.partition(":")
            if base != BASE or not name:
                raise Refused(404, "NotFoundError", f"The model `{model}` does not exist.")
        a = self.names.get(name)
        if not a and self.mode == "sglang":
            raise Refused(400, "BadRequestError", f"Got LoRA adapter that has never been loaded: {name}")
        if not a:
            raise Refused(404, "NotFoundError", f"The model `{model}` does not exist.")
        return name, a

    async def answer(self, body):
        """(model, digest of the files that answered)."""
        self.counts["requests"] += 1
        self.asked[body.get("model", "")] += 1
        if self.mode == "llama-server":
            return await self.answer_fixed(body)
        name, a = self.find(body)
        if not a:
            await asyncio.sleep(self.decode_ms / 1000)
            return name, "base"
        self.running[name] += 1
        slot = self.activate(a)
        self.watch()
        try:
            await asyncio.sleep(self.decode_ms / 1000)
        finally:
            self.running[name] -= 1
        if self.dead:
            raise Refused(500, "InternalServerError", "EngineCore encountered an issue. See stack trace.")
        if slot.digest != a.digest:
            self.counts["wrong"] += 1
        return body["model"], slot.digest

    async def answer_fixed(self, body):
        """llama-server: a scale that a request does not name stays as another request left it."""
        for row in body.get("lora", ()):
            self.fixed[row["id"]]["scale"] = row["scale"]
        mixed = [a["digest"] for a in self.fixed if a["scale"]]
        if len(body.get("lora", ())) < len(self.fixed):
            self.counts["unnamed"] += 1
        await asyncio.sleep(self.decode_ms / 1000)
        return body.get("model", ""), "+".join(mixed) or "base"

    def stats(self):
        """All counters."""
        return {**{k: 0 for k in ("over", "mixed", "busy_unload", "wrong", "reused", "hot_evictions", "loads", "unloads",
                                  "failed_loads", "evictions", "requests", "unnamed")}, **self.counts,
                "peak_names": self.peak_names, "peak_running": self.peak_running, "names": list(self.names),
                "slots": list(self.slots), "dead": self.dead, "asked": dict(self.asked)}

    def models(self):
        """/v1/models."""
        rows = [{"id": BASE, "object": "model", "created": 1, "owned_by": "vllm", "root": BASE, "parent": None,
                 "max_model_len": 4096}]
        rows += [{"id": a.name, "object": "model", "created": 1, "owned_by": "vllm", "root": a.path, "parent": BASE}
                 for a in self.names.values()]
        return {"object": "list", "data": rows}


def completion(model, text):
    """A chat completion."""
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None,
                         "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}


def chunks(model, text, usage):
    """The same as a stream's events."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    half = len(text) // 2
    for delta, finish in (({"role": "assistant", "content": ""}, None), ({"content": text[:half]}, None),
                          ({"content": text[half:]}, None), ({}, "stop")):
        yield {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}
    if usage:
        yield {**head, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}


class Connection(asyncio.Protocol):
    """HTTP/1.1 by hand: one request after another."""

    def __init__(self, engine):
        self.engine, self.seen, self.task = engine, b"", None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.seen += data
        if not self.task:
            self.next()

    def connection_lost(self, exc):
        if self.task:
            self.task.cancel()

    def next(self):
        """The next whole request."""
        head, end, rest = self.seen.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.decode("latin-1").split("\r\n")
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        n = int(fields.get("content-length", 0))
        if len(rest) < n:
            return
        self.seen = rest[n:]
        method, path, _ = lines[0].split(" ", 2)
        self.task = asyncio.ensure_future(self.serve(method, path.partition("?")[0], rest[:n]))
        self.task.add_done_callback(self.done)

    def done(self, task):
        """On to what came meanwhile."""
        self.task = None
        if not task.cancelled() and task.exception():
            self.transport.abort()
        elif self.seen and not self.transport.is_closing():
            self.next()

    def send(self, status, body, kind="application/json"):
        """A whole answer."""
        self.transport.write(b"HTTP/1.1 %d X\r\nServer: uvicorn\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
                             % (status, kind.encode(), len(body), body))

    async def serve(self, method, path, body):
        """One request."""
        e = self.engine
        try:
            await self.route(method, path, json.loads(body) if body else {})
        except Refused as r:
            error = {"message": r.message, "type": r.kind, "param": None, "code": r.status}
            if e.mode == "sglang":
                error = {"object": "error", **error}
            self.send(r.status, json.dumps(error if e.mode == "sglang" else {"error": error}).encode())

    async def route(self, method, path, body):
        """What vLLM (beside /v1), SGLang (at the root) and llama-server have where."""
        e = self.engine
        place = "" if e.mode == "sglang" else "/v1"
        if path in ("/v1/chat/completions", "/v1/completions"):
            await self.chat(body)
        elif path == "/v1/models":
            self.send(200, json.dumps(e.models()).encode())
        elif path == place + "/load_lora_adapter" and e.mode != "llama-server":
            await e.load(body.get("lora_name"), body.get("lora_path"))
            self.changed(body, "added")
        elif path == place + "/unload_lora_adapter" and e.mode != "llama-server":
            if e.mode == "sglang":  # it waits for what is running
                while e.running[body.get("lora_name")]:
                    await asyncio.sleep(0.001)
            e.unload(body.get("lora_name"))
            self.changed(body, "removed")
        elif path == "/health":
            self.send(500 if e.dead else 200, b"")
        elif path == "/_stand_in/stats":
            self.send(200, json.dumps(e.stats()).encode())
        elif path == "/_stand_in" and method == "POST":
            e.bugs = set(body.get("bugs", e.bugs))
            e.load_ms, e.decode_ms = body.get("load_ms", e.load_ms), body.get("decode_ms", e.decode_ms)
            self.send(200, b"{}")
        else:
            raise Refused(404, "NotFoundError", "Not Found")

    def changed(self, body, what):
        """The text of a load or unload that was done."""
        e = self.engine
        if e.mode == "sglang":
            answer = {"success": True, "error_message": "", "loaded_adapters": {a.name: a.path for a in e.names.values()}}
            self.send(200, json.dumps(answer).encode())
        else:
            self.send(200, f"Success: LoRA adapter '{body['lora_name']}' {what} successfully.".encode(), "text/plain")

    async def chat(self, body):
        """Whole, or streamed."""
        model, digest = await self.engine.answer(body)
        if not body.get("stream"):
            self.send(200, json.dumps(completion(model, digest)).encode())
            return
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                             b"Transfer-Encoding: chunked\r\n\r\n")
        usage = (body.get("stream_options") or {}).get("include_usage")
        events = [json.dumps(event) for event in chunks(model, digest, usage)] + ["[DONE]"]
        for event in events:
            part = f"data: {event}\n\n".encode()
            self.transport.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.transport.write(b"0\r\n\r\n")


async def main():
    """Serves until standard input ends."""
    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--mode", choices=("vllm", "sglang", "llama-server"), default="vllm")
    p.add_argument("--max-loras", type=int, default=1)
    p.add_argument("--max-cpu-loras", type=int, default=0)
    p.add_argument("--limit", type=int, default=0, help="names that the gateway may have loaded; 0: max_cpu_loras")
    p.add_argument("--max-lora-rank", type=int, default=RANK_DEFAULT)
    p.add_argument("--load-ms", type=float, default=2)
    p.add_argument("--decode-ms", type=float, default=1)
    p.add_argument("--bugs", default="")
    p.add_argument("--lora", action="append", default=[], help="llama-server: an adapter's folder")
    options = p.parse_args()
    options.max_cpu_loras = options.max_cpu_loras or options.max_loras
    engine = Engine(options)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(engine), "127.0.0.1", options.port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
