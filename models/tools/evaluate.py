"""Held-out exact-match accuracy, with each adapter and with the bare base.

    python evaluate.py                                           PyTorch on the shipped files
    python evaluate.py --url http://127.0.0.1:8080/v1 --n 20     any OpenAI-compatible server (standard library only)

Over HTTP the adapter's model is demo:<name>@prod for its newest revision and demo:<name>@prev for the one before.
"""

import argparse
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent
MAX_TOKENS = 64


def held_out_files(only):
    """(name, revision, path) of every held-out set, the base's last."""
    for path in sorted((MODELS / "heldout").glob("*.*.jsonl")):
        name, revision, _ = path.name.split(".")
        if only in (None, name):
            yield name, int(revision), path
    if only in (None, "base"):
        yield "base", None, MODELS / "heldout" / "base.jsonl"


def read_rows(path, n):
    """The first n rows."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][:n]


class HttpModel:
    """Asks a server, one request at a time, greedily."""

    def __init__(self, url, base, key):
        self.url, self.base, self.key = url.rstrip("/"), base, key

    def wire_name(self, name, revision):
        """The model name on the wire."""
        if name is None:
            return self.base
        newest = max(int(p.name) for p in (MODELS / "adapters" / name).iterdir() if p.name.isdigit())
        return f"{self.base}:{name}@{'prod' if revision == newest else 'prev'}"

    def answers(self, name, revision, prompts):
        """The assistant's text for every prompt."""
        return [self.ask(self.wire_name(name, revision), p) for p in prompts]

    def ask(self, model, prompt):
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0,
                "max_tokens": MAX_TOKENS}
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = "Bearer " + self.key
        request = urllib.request.Request(self.url + "/chat/completions", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{model}: HTTP {error.code}: {error.read(500).decode(errors='replace')}")
        except urllib.error.URLError as error:
            sys.exit(f"{self.url}: {error.reason}")


class TorchModel:
    """The shipped files in PyTorch, float32."""

    def __init__(self):
        import torch
        import files
        torch.set_num_threads(2)
        self.files = files
        self.model, self.tokenizer = files.read_base(MODELS / "demo.gguf")

    def answers(self, name, revision, prompts):
        """The assistant's text for every prompt."""
        from data import render
        from model import generate
        from tokenizer import IM_END
        self.model.drop_lora()
        if name is not None:
            self.files.hang_adapter(self.model, MODELS / "adapters" / name / str(revision))
        ids = [self.tokenizer.encode(render([("user", p)], generate=True)).ids for p in prompts]
        return [self.tokenizer.decode(out) for out in generate(self.model, ids, IM_END, MAX_TOKENS)]


def accuracy(model, name, revision, rows, show):
    """The share of rows answered exactly, in percent; the first misses to stderr."""
    answers = model.answers(name, revision, [r["prompt"] for r in rows])
    misses = [(r, a) for r, a in zip(rows, answers) if a != r["answer"]]
    for row, answer in misses[:show]:
        print(f"  {row['prompt']!r}: {answer!r}, not {row['answer']!r}", file=sys.stderr)
    return 100 * (len(rows) - len(misses)) / len(rows)


def table(results):
    """The results as a Markdown table."""
    yield "| task | revision | prompts | with adapter | bare base |"
    yield "|---|---|---|---|---|"
    for r in results:
        cells = [f"{r[k]:.1f} %" if r[k] is not None else "–" for k in ("adapter", "base")]
        yield f"| {r['name']} | {r['revision'] or '–'} | {r['n']} | {cells[0]} | {cells[1]} |"


def main():
    """Scores every held-out set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="the server's /v1 address; without it, PyTorch")
    parser.add_argument("--key", help="bearer key for the server")
    parser.add_argument("--base", default="demo", help="wire name of the base (default demo)")
    parser.add_argument("--n", type=int, default=200, help="prompts a set (default 200)")
    parser.add_argument("--only", help="one adapter, or 'base'")
    parser.add_argument("--misses", type=int, default=0, help="show so many misses a set")
    parser.add_argument("--json", action="store_true", help="results as JSON")
    args = parser.parse_args()
    model = HttpModel(args.url, args.base, args.key) if args.url else TorchModel()
    results = []
    for name, revision, path in held_out_files(args.only):
        rows = read_rows(path, args.n)
        with_adapter = None if name == "base" else accuracy(model, name, revision, rows, args.misses)
        bare = accuracy(model, None, None, rows, args.misses if name == "base" else 0)
        results.append({"name": name, "revision": revision, "n": len(rows), "adapter": with_adapter, "base": bare})
    print(json.dumps(results, indent=2) if args.json else "\n".join(table(results)))


if __name__ == "__main__":
    main()
