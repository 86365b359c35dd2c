"""`rootstock dsl`: the recipes' sources compile to their configurations, and back; the command's own contract."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

try:
    import yaml  # an independent reader
except ImportError:
    yaml = None

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import PATIENCE, PROGRAM, ROOT  # noqa: E402

SHARED = pathlib.Path(os.environ.get("ROOTSTOCK_SHARED") or ROOT.parent / "shared")
RECIPES = SHARED / "conformance" / "semantic-router" / "recipes"
REFERENCE = SHARED / "conformance" / "semantic-router" / "reference-config.yaml"
SECTIONS = ("routing", "entrypoints", "recipes")

POLICY = """\
# Urgent things first.
SIGNAL keyword urgent { operator: "OR" keywords: ["urgent", "asap"] }
MODEL small { quality_score: 0.5 }
MODEL large { quality_score: 0.9 }
ROUTE hot { PRIORITY 10 WHEN keyword("urgent") MODEL "large" }
ROUTE rest { PRIORITY 1 MODEL "small" }
TEST words {
  "this is urgent" -> hot
  "good morning" -> rest
}
ENTRYPOINT { model_names: ["vip"] recipe: "vip" }
RECIPE vip {
  ROUTE always { MODEL "large" }
  TEST any { "anything" -> always }
}
"""


def dsl(*arguments, text=None):
    """Runs `rootstock dsl`; returns the finished process."""
    return subprocess.run([str(PROGRAM), "dsl", *map(str, arguments)], input=text, capture_output=True, text=True,
                          check=False, timeout=60 * PATIENCE)


def output(*arguments, text=None):
    """stdout of a command that must succeed."""
    process = dsl(*arguments, text=text)
    if process.returncode:
        raise AssertionError(f"dsl {' '.join(map(str, arguments))}: exit {process.returncode}: {process.stderr}")
    return process.stdout


def without_defaults(value):
    """The reference's tool writes false and empty values or leaves them out: they say the same."""
    if isinstance(value, dict):
        items = {key: without_defaults(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item not in (None, [], {}) and item is not False}
    if isinstance(value, list):
        return [without_defaults(item) for item in value]
    return value


def one_rule(rule):
    """A group of one is its only condition."""
    if "type" in rule:
        return rule
    conditions = [one_rule(child) for child in rule.get("conditions", [])]
    if len(conditions) == 1 and rule.get("operator") != "NOT":
        return conditions[0]
    return {"operator": rule.get("operator", "AND"), "conditions": conditions}


def meaning(config):
    """What the policy sections of a configuration say."""
    config = without_defaults({key: config[key] for key in SECTIONS if key in config})
    profiles = [config.get("routing", {})] + [recipe["routing"] for recipe in config.get("recipes", [])]
    for profile in profiles:
        profile.get("modelCards", []).sort(key=lambda card: card["name"])
        for decision in profile.get("decisions", []):
            rules = decision.pop("rules", {})
            if rules.get("conditions") or "type" in rules:
                decision["rules"] = one_rule(rules)
    return config


def comments(source):
    """Its comments, in order (no text of the recipes holds a '#')."""
    return [line.strip() for line in re.findall(r"#.*", source)]


class Recipes(unittest.TestCase):
    """Third-party policies, each as a source and as a configuration."""

    def setUp(self):
        if not RECIPES.is_dir():
            self.skipTest(f"{RECIPES} is absent")
        if yaml is None:
            self.skipTest("PyYAML is absent (Debian: python3-yaml)")
        self.folders = sorted(path.parent for path in RECIPES.rglob("recipe.dsl"))

    def test_each_source_compiles_to_its_configuration(self):
        for folder in self.folders:
            with self.subTest(recipe=folder.name):
                config = yaml.safe_load((folder / "config.yaml").read_text())
                compiled = yaml.safe_load(output("compile", folder / "recipe.dsl"))
                self.assertEqual(meaning(compiled), meaning(config))

    def test_each_configuration_survives_the_way_to_a_source_and_back(self):
        for path in [folder / "config.yaml" for folder in self.folders] + [REFERENCE]:
            with self.subTest(config=str(path.parent.name)):
                source = output("decompile", path)
                again = yaml.safe_load(output("compile", text=source))
                self.assertEqual(meaning(again), meaning(yaml.safe_load(path.read_text())))
                self.assertEqual(output("fmt", text=source), source)

    def test_formatting_keeps_meaning_and_comments_and_is_idempotent(self):
        for folder in self.folders:
            with self.subTest(recipe=folder.name):
                source = (folder / "recipe.dsl").read_text()
                layout = output("fmt", folder / "recipe.dsl")
                self.assertEqual(output("fmt", text=layout), layout)
                self.assertEqual(output("compile", text=layout), output("compile", text=source))
                self.assertEqual(comments(layout), comments(source))

    def test_each_source_is_valid_alone_and_in_its_configuration(self):
        for folder in self.folders:
            with self.subTest(recipe=folder.name):
                output("validate", folder / "recipe.dsl")
                output("validate", folder / "recipe.dsl", "--base", folder / "config.yaml")

    def test_a_base_gives_a_whole_configuration_back(self):
        for folder in self.folders:
            with self.subTest(recipe=folder.name), tempfile.TemporaryDirectory() as temporary:
                whole = pathlib.Path(temporary) / "whole.yaml"
                output("compile", folder / "recipe.dsl", "--base", folder / "config.yaml", "-o", whole)
                merged, config = (yaml.safe_load(path.read_text()) for path in (whole, folder / "config.yaml"))
                for key in set(config) - set(SECTIONS):
                    self.assertEqual(merged[key], config[key])
                self.assertEqual(meaning(merged), meaning(config))
                check = subprocess.run([str(PROGRAM), "check", "-c", str(whole)], capture_output=True, text=True,
                                       check=False, timeout=60 * PATIENCE)
                self.assertEqual(check.returncode, 0, check.stderr)


class Command(unittest.TestCase):
    """Exit statuses, files, stdin and messages."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.file = self.folder / "policy.dsl"
        self.file.write_text(POLICY)

    def test_stdin_is_read_without_a_file_and_with_a_dash(self):
        self.assertEqual(output("compile", text=POLICY), output("compile", "-", text=POLICY))
        self.assertEqual(output("compile", text=POLICY), output("compile", self.file))

    def test_tests_pass_in_each_profile(self):
        self.assertIn("3 tests passed", output("validate", self.file))

    def test_a_test_that_fails_is_reported_with_its_place(self):
        self.file.write_text(POLICY.replace('"good morning" -> rest', '"good morning" -> hot')
                             .replace('"anything" -> always', '"anything" -> alway'))
        process = dsl("validate", self.file)
        self.assertEqual(process.returncode, 1)
        self.assertIn(f"{self.file}:9:3: error: 'good morning' is answered by 'rest', not by 'hot'", process.stderr)
        self.assertIn(f"{self.file}:14:14: error: there is no route 'alway'; did you mean 'always'?", process.stderr)

    def test_the_routers_own_checks_name_the_line_of_the_source(self):
        self.file.write_text(POLICY.replace('WHEN keyword("urgent")', 'WHEN keyword("urgnt")')
                             .replace('operator: "OR"', 'operatr: "OR"').replace('MODEL "small"', 'MODEL "smal"'))
        process = dsl("validate", "--json", self.file)
        self.assertEqual(process.returncode, 1)
        found = {(problem["line"], problem["column"]) for problem in json.loads(process.stdout)
                 if problem["kind"] == "error"}
        self.assertLessEqual({(2, 25), (5, 30), (6, 31)}, found)

    def test_what_can_never_win_is_told_in_the_source_and_in_a_configuration(self):
        self.file.write_text(POLICY.replace('ROUTE rest { PRIORITY 1 ', 'ROUTE rest { PRIORITY 11 '))
        process = dsl("validate", self.file)
        self.assertEqual(process.returncode, 1)  # its tests say so, too
        self.assertIn(f"{self.file}:5:1: warning: routing.decisions[0]: 'hot' can never win: whenever it matches, "
                      "'rest' (priority 11) matches too", process.stderr)
        config = self.folder / "policy.yaml"
        output("compile", self.file, "-o", config)
        check = subprocess.run([str(PROGRAM), "check", "--json", "-c", str(config)], capture_output=True, text=True,
                               check=False, timeout=60 * PATIENCE)
        self.assertEqual(check.returncode, 0, check.stderr)
        self.assertTrue(any("'hot' can never win" in problem["text"] for problem in json.loads(check.stdout)))

    def test_formatting_writes_and_checks(self):
        self.assertEqual(dsl("fmt", "--check", self.file).returncode, 1)
        output("fmt", "--write", self.file)
        self.assertEqual(dsl("fmt", "--check", self.file).returncode, 0)
        self.assertEqual(self.file.read_text(), output("fmt", text=POLICY))
        self.assertEqual([path.name for path in self.folder.iterdir()], ["policy.dsl"])

    def test_a_broken_source_is_not_overwritten(self):
        self.file.write_text(POLICY + "ROUTE {")
        process = dsl("fmt", "--write", self.file)
        self.assertEqual(process.returncode, 1)
        self.assertEqual(self.file.read_text(), POLICY + "ROUTE {")

    def test_misuse_is_told_from_failure(self):
        for arguments, status in (((), 2), (("compil", self.file), 2), (("compile", "a", "b"), 2),
                                  (("compile", self.folder / "absent"), 1), (("compile", self.file), 0)):
            with self.subTest(arguments=arguments):
                self.assertEqual(dsl(*arguments).returncode, status)

    def test_a_configuration_without_policy_is_refused(self):
        process = dsl("decompile", text="engine: {}\n")
        self.assertEqual(process.returncode, 1)
        self.assertIn("no 'routing'", process.stderr)


if __name__ == "__main__":
    tap.main()
