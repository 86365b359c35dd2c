"""vllm_stand_in as a process; adapters for it, and what their files are."""
import http.client
import json
import pathlib
import struct
import subprocess
import sys

from support.rootstock import PATIENCE
from support.vllm_stand_in import files_digest  # noqa: F401  (for its users)

PROGRAM = pathlib.Path(__file__).with_name("vllm_stand_in.py")


class StandIn:
    """One engine; more: its options, as max_loras=4."""

    def __init__(self, **more):
        self.port, self.more, self.process = 0, more, None
        self.start()

    def start(self):
        """Starts it; again after stop: on the same port, knowing nothing."""
        words = []
        for name, value in self.more.items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                words += ["--" + name.replace("_", "-"), str(one)]
        command = [sys.executable, str(PROGRAM), "--port", str(self.port), *words]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def stop(self):
        """Kills it: its connections break."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def ask(self, method, path, body=None):
        """(status, bytes) of a request to it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 * PATIENCE)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stats(self):
        """Its counters."""
        return json.loads(self.ask("GET", "/_stand_in/stats")[1])

    def set(self, **what):
        """Its bugs and times from now on."""
        self.ask("POST", "/_stand_in", what)


def write_adapter(folder, seed, rank=4):
    """A small PEFT adapter whose bytes follow from the seed: what its files are."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj"],
         "base_model_name_or_path": "base", "note": seed}), encoding="utf-8")
    head, data = {}, b""
    for part, shape in (("lora_A", (rank, 8)), ("lora_B", (8, rank))):
        value = struct.pack("<f", seed / 7 + 1) * (shape[0] * shape[1])
        head[f"base_model.model.model.layers.0.self_attn.q_proj.{part}.weight"] = {
            "dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(value)]}
        data += value
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return files_digest(folder)


def write_card(folder, name, revisions, base="m", rank=4, **more):
    """An adapter of a directory catalog; revisions: {ordinal: seed}. {ordinal: what its files are}."""
    place = pathlib.Path(folder) / name
    digests = {n: write_adapter(place / str(n), seed, rank) for n, seed in revisions.items()}
    card = {"name": name, "base": base, "revisions": sorted(revisions), "aliases": {"prod": max(revisions)}, **more}
    (place / "adapter.yaml").write_text(json.dumps(card), encoding="utf-8")
    return digests
