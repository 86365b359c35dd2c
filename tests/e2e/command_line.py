"""The command line is a contract: exit status, stdout for results, stderr for messages, JSON a line."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import DEMO, PATIENCE, PROGRAM, ROOT, heldout  # noqa: E402

MODEL = str(ROOT / "models" / "demo.gguf")
COMMANDS = ("serve", "check", "route", "guard", "generate", "tokenize", "perplexity", "bench", "adapters")


def run(*arguments, text=None):
    """Runs rootstock; returns the finished process."""
    return subprocess.run([str(PROGRAM), *arguments], input=text, capture_output=True, text=True, check=False,
                          timeout=120 * PATIENCE)


def lines(process):
    """stdout as JSON lines; fails with stderr when the command failed."""
    if process.returncode:
        raise AssertionError(f"exit {process.returncode}: {process.stderr}")
    return [json.loads(line) for line in process.stdout.splitlines()]


class CommandLine(unittest.TestCase):
    """Each command of the contract."""

    def test_every_command_has_help_on_stdout_and_misuse_is_2(self):
        for command in COMMANDS:
            with self.subTest(command=command):
                helped = run(command, "--help")
                self.assertEqual(helped.returncode, 0, helped.stderr)
                self.assertIn("usage: rootstock " + command, helped.stdout)
                wrong = run(command, "--no-such-option")
                self.assertEqual(wrong.returncode, 2)
                self.assertEqual(wrong.stdout, "")
        self.assertEqual(run().returncode, 2)
        self.assertEqual(run("no-such-command").returncode, 2)
        self.assertEqual(run("--help").returncode, 0)

    def test_the_demo_configuration_is_fine(self):
        checked = run("check", "-c", str(DEMO))
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        self.assertEqual(lines(run("check", "-c", str(DEMO), "--json")), [[]])

    def test_every_problem_is_reported_with_place_and_suggestion(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            f.write("version: v0.3\nrouting:\n  desicions: []\ngateway:\n  limits: {body: huge}\n")
            f.flush()
            checked = run("check", "-c", f.name)
            self.assertEqual(checked.returncode, 1)
            self.assertIn(f"{f.name}:5:18: error: gateway.limits.body:", checked.stderr)
            self.assertIn("did you mean 'decisions'?", checked.stderr)

    def test_a_wrong_section_hides_no_problem_of_another(self):
        text = ("version: v0.3\nengine:\n  models: [{name: m, path: /nowhere.gguf, slots: 0}]\n"
                "adapters: {catalog: {type: directory, pth: a}}\nrouting:\n  decisions:\n"
                "    - {name: a, modelRefs: [{model: mm}], plugins: [{type: piii}]}\n")
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            f.write(text)
            f.flush()
            checked = run("check", "-c", f.name)
            self.assertEqual(checked.returncode, 1)
            for told in ("engine.models[0].slots", "adapters.catalog.pth", "did you mean 'm'?", "did you mean 'pii'?",
                         "/nowhere.gguf"):
                self.assertIn(told, checked.stderr)

    def test_route_answers_a_line_a_request(self):
        prompt = heldout("sql.2")[0]["prompt"]
        asked = [{"text": prompt}, {"model": "auto", "messages": [{"role": "user", "content": prompt}]},
                 {"text": "What is 64 - 61?"}]
        routes = lines(run("route", "-c", str(DEMO), text="".join(json.dumps(a) + "\n" for a in asked)))
        self.assertEqual([r["decision"] for r in routes], ["sql", "sql", "general"])
        self.assertEqual([r["adapter"] or "" for r in routes], ["sql", "sql", ""])
        for route in routes:
            self.assertEqual(route["model"], "demo")
            self.assertEqual(set(route) & {"decision", "model", "adapter", "algorithm", "plugins", "signals", "us"},
                             {"decision", "model", "adapter", "algorithm", "plugins", "signals", "us"})
        explained = lines(run("route", "-c", str(DEMO), "--explain", text=json.dumps(asked[0]) + "\n"))[0]
        self.assertGreater(len(json.dumps(explained)), len(json.dumps(routes[0])))

    def test_route_refuses_a_bad_line_by_its_number(self):
        for command in ("route", "guard"):
            bad = run(command, "-c", str(DEMO), text='{"text": "a"}\nnot json\n\n{"text": 3}\n')
            self.assertEqual(bad.returncode, 1)
            self.assertIn("line 2:", bad.stderr)
            self.assertIn("line 4:", bad.stderr)
            self.assertNotIn("line 1:", bad.stderr)
            self.assertEqual(len(bad.stdout.splitlines()), 3)
            twice = run(command, "-c", str(DEMO), text='{"text": "a", "text": "b"}\n')
            self.assertEqual(twice.returncode, 1)

    def test_guard_finds_and_masks(self):
        text = "write to ann@example.com or pay with 4111 1111 1111 1111"
        found = lines(run("guard", "-c", str(DEMO), text=json.dumps({"text": text}) + "\n"))[0]
        kinds = {f["type"]: text[f["start"]:f["end"]] for f in found["findings"]}
        self.assertEqual(kinds, {"EMAIL_ADDRESS": "ann@example.com", "CREDIT_CARD": "4111 1111 1111 1111"})
        self.assertNotIn("ann@example.com", found["text"])
        self.assertNotIn("4111", found["text"])

    def test_tokenize_and_decode_are_inverse(self):
        for text in ("What is 64 - 61?", "Laura a dix maisons.", "  two  spaces", "naïve 🦙"):
            ids = lines(run("tokenize", "-m", MODEL, "--json", text=json.dumps(text) + "\n"))[0]
            decoded = run("tokenize", "-m", MODEL, "--json", "--decode", text=json.dumps(ids) + "\n")
            self.assertEqual(lines(decoded)[0], text)

    def test_generate_with_an_adapter_answers_the_task(self):
        case = heldout("french.1")[0]
        folder = ROOT / "models" / "adapters" / "french" / "1"
        job = {"messages": [{"role": "user", "content": case["prompt"]}], "lora": [{"path": str(folder), "scale": 1.0}],
               "n": 64}
        bare = {**job, "lora": []}
        out = lines(run("generate", "-m", MODEL, "--json", text=json.dumps(job) + "\n" + json.dumps(bare) + "\n"))
        self.assertEqual(out[0]["text"], case["answer"])
        self.assertEqual(out[0]["finish_reason"], "stop")
        self.assertNotEqual(out[1]["text"], case["answer"])
        self.assertEqual(out[0]["prompt_ids"], out[1]["prompt_ids"])

    def test_missing_and_broken_files_are_named(self):
        with tempfile.NamedTemporaryFile("wb", suffix=".gguf") as f:
            f.write(b"GGUF\x03\x00\x00\x00garbage")
            f.flush()
            for path in (f.name, "/nowhere/model.gguf"):
                failed = run("generate", "-m", path, "-p", "x")
                self.assertEqual(failed.returncode, 1)
                self.assertIn(path, failed.stderr)

    def test_perplexity_prints_its_numbers(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
            f.write("What is 64 - 61?")
            f.flush()
            out = lines(run("perplexity", "-m", MODEL, "-f", f.name, "--json"))[0]
            self.assertGreater(out["n"], 3)
            self.assertGreater(out["ppl"], 1)

    def test_perplexity_cuts_windows_alike_with_and_without_bos(self):
        text = "What is 64 - 61? What is 7 + 5?"
        bare = lines(run("tokenize", "-m", MODEL, "--json", "--no-bos", text=json.dumps(text) + "\n"))[0]
        full = lines(run("tokenize", "-m", MODEL, "--json", text=json.dumps(text) + "\n"))[0]
        windows = -(-len(bare) // 7)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
            f.write(text)
            f.flush()
            out = lines(run("perplexity", "-m", MODEL, "-f", f.name, "--json", "--window", "8"))[0]
        self.assertEqual(out["n"], len(bare) - (windows if full == bare else 0))


if __name__ == "__main__":
    tap.main()
