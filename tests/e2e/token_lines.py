#!/usr/bin/env python3
"""rootstock tokenize: lines in, ids out, and back, with the small vocabularies of the repository."""
import json
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PROGRAM, ROOT  # noqa: E402

SPM = ROOT / "tests/fuzz/corpus/tokenizer/spm.gguf"
BPE = ROOT / "tests/fuzz/corpus/tokenizer/bpe.gguf"
EXPECTED = json.loads((ROOT / "tests/golden/tokens.json").read_text())


def tokenize(*arguments, lines=""):
    return subprocess.run([PROGRAM, "tokenize", *map(str, arguments)], input=lines, capture_output=True, text=True)


class Tokenize(unittest.TestCase):
    def test_json_lines_give_the_expected_ids(self):
        for model, rows in ((SPM, EXPECTED["spm"]), (BPE, EXPECTED["bpe"])):
            lines = "".join(json.dumps(r["text"]) + "\n" for r in rows)
            for flags, key in (((), "plain"), (("--parse-special",), "parsed")):
                done = tokenize("-m", model, "--json", "--no-bos", *flags, lines=lines)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual([json.loads(l) for l in done.stdout.splitlines()], [r[key] for r in rows])

    def test_raw_lines_are_taken_as_they_are(self):
        done = tokenize("-m", BPE, lines='hello\n"hello"\n')
        ids = [json.loads(l) for l in done.stdout.splitlines()]
        self.assertEqual(len(ids), 2)
        self.assertGreater(len(ids[1]), len(ids[0]))

    def test_bos_is_added_as_the_model_says(self):
        done = tokenize("-m", SPM, lines="hello\n")
        bare = tokenize("-m", SPM, "--no-bos", lines="hello\n")
        self.assertEqual(json.loads(done.stdout), [1] + json.loads(bare.stdout))

    def test_decode_gives_the_text_back(self):
        texts = ["hello hello", " two  blanks ", "é世🦙\n\t", ""]
        for model in (SPM, BPE):
            encoded = tokenize("-m", model, "--json", lines="".join(json.dumps(t) + "\n" for t in texts))
            decoded = tokenize("-m", model, "--json", "--decode", lines=encoded.stdout)
            self.assertEqual([json.loads(l) for l in decoded.stdout.splitlines()], texts)

    def test_decode_with_special_tokens_gives_the_text_back(self):
        text = "<s>hello</s> <unk> hello"
        encoded = tokenize("-m", SPM, "--json", "--no-bos", "--parse-special", lines=json.dumps(text) + "\n")
        decoded = tokenize("-m", SPM, "--json", "--decode", "--parse-special", lines=encoded.stdout)
        self.assertEqual(json.loads(decoded.stdout), text)

    def test_control_tokens_are_shown_with_parse_special_only(self):
        ids = tokenize("-m", BPE, "--parse-special", lines="<|im_end|>hello\n").stdout
        self.assertEqual(tokenize("-m", BPE, "--decode", lines=ids).stdout, "hello\n")
        self.assertEqual(tokenize("-m", BPE, "--decode", "--parse-special", lines=ids).stdout, "<|im_end|>hello\n")

    def test_failures_are_1_and_misuse_is_2(self):
        self.assertEqual(tokenize().returncode, 2)
        self.assertEqual(tokenize("-m", BPE, "--nonsense").returncode, 2)
        self.assertEqual(tokenize("--help").returncode, 0)
        for arguments, line in ((("-m", "/nowhere.gguf"), ""), (("-m", __file__), ""), (("-m", BPE, "--json"), "{\n"),
                                (("-m", BPE, "--decode"), "[999999]\n"), (("-m", BPE, "--decode"), "[-1]\n")):
            done = tokenize(*arguments, lines=line)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertTrue(done.stderr.startswith("rootstock: "), done.stderr)
            self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    tap.main()
