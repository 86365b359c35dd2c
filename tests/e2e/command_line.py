"""The command line is a contract: exit status, stdout for results, stderr for messages, JSON a line."""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import DEMO, PATIENCE, PROGRAM, ROOT, heldout  # noqa: E402

MODEL = str(ROOT / "models" / "demo.gguf")
COMMANDS = ("serve", "check", "route", "guard", "generate", "tokenize", "perplexity", "embed", "bench", "adapters", "dsl")


def run(*arguments, text=None):
    """Runs rootstock; returns the finished process."""
    return subprocess.run([str(PROGRAM), *arguments], input=text, capture_output=True, text=True, check=False,
                          timeout=120 * PATIENCE)


def on_terminal(*arguments, stdin):
    """What a person sees on stderr while results go to a file: (exit status, text)."""
    master, slave = os.openpty()
    with tempfile.TemporaryFile() as out:
        with subprocess.Popen([str(PROGRAM), *arguments], stdin=stdin, stdout=out, stderr=slave) as process:
            os.close(slave)
            seen = b""
            while True:
                try:
                    part = os.read(master, 4096)
                except OSError:  # the other end is closed
                    break
                if not part:
                    break
                seen += part
    os.close(master)
    return process.returncode, seen.decode()


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

    def test_generate_keeps_to_a_schema_and_a_grammar(self):
        schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "n": {"type": "integer", "maximum": 9,
                                                                                     "minimum": 0}},
                  "required": ["a", "n"], "additionalProperties": False}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write(json.dumps(schema))
            f.flush()
            jobs = [{"prompt": "What", "n": 60, "temperature": 1.5, "seed": i} for i in range(5)]
            jobs.append({"prompt": "What", "n": 60, "grammar": 'root ::= "yes" | "no"'})
            jobs.append({"prompt": "What", "n": 60, "response_format": {"type": "json_object"}, "temperature": 1.2,
                         "seed": 2, "typical_p": 0.9, "logit_bias": {"5": -100}})
            out = lines(run("generate", "-m", MODEL, "--json", "--json-schema", f.name,
                            text="".join(json.dumps(j) + "\n" for j in jobs)))
            for one in out[:5]:
                self.assertEqual(one["finish_reason"], "stop")
                thing = json.loads(one["text"])
                self.assertEqual(set(thing), {"a", "n"})
                self.assertIn(thing["a"], "xy")
                self.assertIn(thing["n"], range(10))
            self.assertIn(out[5]["text"], ("yes", "no"))
            if out[6]["finish_reason"] == "stop":
                self.assertIsInstance(json.loads(out[6]["text"]), dict)
            again = lines(run("generate", "-m", MODEL, "--json", "--json-schema", f.name, text=json.dumps(jobs[3]) + "\n"))
            self.assertEqual(again[0]["ids"], out[3]["ids"])  # the same alone and in company
        with tempfile.NamedTemporaryFile("w", suffix=".gbnf") as f:
            f.write('root ::= "a"+ "b"')
            f.flush()
            text = run("generate", "-m", MODEL, "-p", "What", "--grammar", f.name).stdout
            self.assertRegex(text, "^a+b?\n$")
            f.write("(")
            f.flush()
            failed = run("generate", "-m", MODEL, "-p", "What", "--grammar", f.name)
            self.assertEqual(failed.returncode, 1)
            self.assertTrue(failed.stderr)
        self.assertEqual(run("generate", "-m", MODEL, "--grammar", "a", "--json-schema", "b").returncode, 2)

    def test_output_that_cannot_be_written_is_a_failure_that_says_so(self):
        for arguments in (("--version",), ("check", "-c", str(DEMO)), ("generate", "-m", MODEL, "-p", "x", "--n", "2")):
            with self.subTest(arguments=arguments), open("/dev/full", "wb") as full:
                process = subprocess.run([str(PROGRAM), *arguments], stdout=full, stderr=subprocess.PIPE, text=True,
                                         check=False, timeout=120 * PATIENCE)
                self.assertEqual(process.returncode, 1)
                self.assertIn("No space left", process.stderr)

    def test_a_job_with_a_field_that_is_not_served_says_which(self):
        for field in ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"logprobs": True}, {"stop": "x"}):
            process = run("generate", "-m", MODEL, "--json", text=json.dumps({"prompt": "x", "n": 1, **field}) + "\n")
            self.assertEqual(process.returncode, 1)
            self.assertIn(next(iter(field)), json.loads(process.stdout)["error"]["message"])

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

    def test_embed_prints_a_vector_a_line(self):
        texts = ["What is 64 - 61?", "Laura a dix maisons.", "a \u00e9 b"]
        plain = lines(run("embed", "-m", MODEL, text="\n".join(texts)))
        spelt = lines(run("embed", "-m", MODEL, "--json", text="".join(json.dumps(t) + "\n" for t in texts)))
        self.assertEqual(plain, spelt)
        alone = [lines(run("embed", "-m", MODEL, text=t + "\n"))[0] for t in texts]
        for one, other in zip(plain, alone):
            self.assertAlmostEqual(math.sqrt(sum(x * x for x in one)), 1, places=5)
            self.assertLess(max(abs(x - y) for x, y in zip(one, other)), 1e-5)
        short = lines(run("embed", "-m", MODEL, "--dimensions", "8", text=texts[0] + "\n"))[0]
        norm = math.sqrt(sum(x * x for x in plain[0][:8]))
        self.assertLess(max(abs(x - y / norm) for x, y in zip(short, plain[0])), 1e-5)
        self.assertEqual(len(short), 8)

    def test_embed_names_the_line_that_it_cannot_embed(self):
        for arguments, text, told, answered in ((["--json"], '"a"\nb\n"c"\n', "line 2: not a JSON string", 1),
                                                ([], "a\nb\n" + "word " * 5000 + "\nd\n", "line 3: ", 2),
                                                (["--dimensions", "1000000"], "a\n", "--dimensions 1000000", 0)):
            failed = run("embed", "-m", MODEL, *arguments, text=text)
            self.assertEqual((failed.returncode, len(failed.stdout.splitlines())), (1, answered), failed.stderr)
            self.assertIn(told, failed.stderr)
        self.assertEqual(run("embed", "-m", MODEL, text="").stdout, "")

    def test_a_person_who_waits_sees_a_bar_and_a_program_does_not(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
            f.write("What is 64 - 61? What is 7 + 5?\n" * 50)
            f.flush()
            for arguments in (["generate", "-m", MODEL, "-p", "What is", "--n", "100"], ["tokenize", "-m", MODEL],
                              ["embed", "-m", MODEL], ["perplexity", "-m", MODEL, "-f", f.name]):
                with self.subTest(command=arguments[0]):
                    with open(f.name, encoding="utf-8") as stdin:
                        status, seen = on_terminal(*arguments, stdin=stdin)
                    self.assertEqual(status, 0, seen)
                    self.assertRegex(seen, r"\r\[=* *\] +\d+ %")
                    self.assertTrue(seen.endswith("\r\x1b[K"), seen[-80:])
                    with open(f.name, encoding="utf-8") as stdin:
                        quiet = run(*arguments, text=stdin.read())
                    self.assertEqual((quiet.returncode, quiet.stderr), (0, ""))


if __name__ == "__main__":
    tap.main()
