"""Rules of examples against texts that others labelled, through `rootstock route`: in the lexical space, and with a
sentence encoder where ROOTSTOCK_ENCODER names its GGUF file. Floors, not targets; the scores are printed."""
import collections
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PATIENCE, PROGRAM, ROOT  # noqa: E402

SHARED = pathlib.Path(os.environ.get("ROOTSTOCK_SHARED") or ROOT.parent / "shared")
CASES = SHARED / "conformance" / "semantic-router" / "e2e" / "embedding_signal_cases.json"
INTENTS = SHARED / "data" / "clinc150.dev.jsonl"
ENCODER = os.environ.get("ROOTSTOCK_ENCODER")

# Written after the names of the cases' signals alone.
RULES = {
    "pii_detected": ["my social security number is", "here is my credit card number", "my phone number and email address",
                     "my name, home address and date of birth", "this text contains personal information",
                     "confidential personal data of a user"],
    "security_threat": ["hack into a system", "bypass the login", "exploit a vulnerability to get unauthorized access",
                        "SQL injection attack", "steal passwords of an administrator"],
    "kubernetes_topic": ["deploy an application on kubernetes", "kubernetes pods and services", "helm charts and ingress",
                         "container orchestration in a cluster", "scale a deployment to more replicas"],
    "healthcare_domain": ["symptoms and treatment of a disease", "what causes this illness", "medical diagnosis",
                          "side effects of a medicine"],
    "finance_domain": ["how should I invest my money", "stocks, bonds and funds", "risk of an investment portfolio",
                       "interest rates and loans"],
}


def policy(rules, encoder):
    """A configuration whose rules are those, each with a decision of its own."""
    embedding = {"embedding": {"path": encoder}} if encoder else {}
    return json.dumps({
        "version": "v0.3", "engine": embedding,
        "providers": {"defaults": {"default_model": "m"}, "models": [{"name": "m"}]},
        "routing": {
            "signals": {"embeddings": [{"name": name, "threshold": 0.5, "candidates": texts}
                                       for name, texts in rules.items()]},
            "decisions": [{"name": f"d-{name}", "rules": {"type": "embedding", "name": name}, "modelRefs": [{"model": "m"}]}
                          for name in rules]}})


def matched(rules, texts, encoder=None):
    """Which rule each text matches; None: none."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "policy.yaml"
        path.write_text(policy(rules, encoder), encoding="utf-8")
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        ran = subprocess.run([str(PROGRAM), "route", "-c", str(path)], input=lines, capture_output=True, text=True,
                             check=True, timeout=300 * PATIENCE)
    names = [[key.removeprefix("embedding:") for key in json.loads(line)["signals"]] for line in ran.stdout.splitlines()]
    return [found[0] if found else None for found in names]


@unittest.skipUnless(CASES.exists() and INTENTS.exists(), "the shared data is not here")
class Likeness(unittest.TestCase):
    """Scores of both spaces."""

    def cases(self, encoder, least):
        cases = json.loads(CASES.read_text(encoding="utf-8"))
        got = matched(RULES, [case["query"] for case in cases], encoder)
        right = [(name == case["signal_name"]) == case["expected_match"] for name, case in zip(got, cases)]
        for case, name, fine in zip(cases, got, right):
            if not fine:
                print(f"# {case['query'][:70]!r}: {case['signal_name']} {case['expected_match']}, got {name}")
        print(f"# {sum(right)} of {len(cases)} cases are as expected")
        self.assertGreaterEqual(sum(right), least)

    def intents(self, encoder, least, queries):
        by = collections.defaultdict(list)
        for line in open(INTENTS, encoding="utf-8"):
            row = json.loads(line)
            if row["label"] != "oos":
                by[row["label"]].append(row["text"])
        for texts in by.values():
            texts.sort(key=lambda text: hashlib.sha256(text.encode()).digest())
        asked = [(label, text) for label, texts in sorted(by.items()) for text in texts[10:10 + queries]]
        got = matched({label: texts[:10] for label, texts in sorted(by.items())}, [text for _, text in asked], encoder)
        right = sum(name == label for name, (label, _) in zip(got, asked))
        said = sum(name is not None for name in got)
        print(f"# {len(by)} rules of ten examples: {said} of {len(asked)} matched, {right} of them rightly")
        self.assertGreaterEqual(right / len(asked), least)
        self.assertGreaterEqual(right / said, least)

    def test_signals_of_third_party_cases_match_by_words(self):
        self.cases(None, 25)

    def test_intents_are_told_apart_by_words(self):
        self.intents(None, 0.75, 5)

    @unittest.skipUnless(ENCODER, "ROOTSTOCK_ENCODER names no encoder")
    def test_signals_of_third_party_cases_match_by_an_encoder(self):
        self.cases(ENCODER, 25)

    @unittest.skipUnless(ENCODER, "ROOTSTOCK_ENCODER names no encoder")
    def test_intents_are_told_apart_by_an_encoder(self):
        self.intents(ENCODER, 0.7, 1)


if __name__ == "__main__":
    tap.main()
