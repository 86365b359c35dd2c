"""Third-party policies with probes, through `rootstock serve` and POST /api/v1/eval.

usage: probes.py [--program FILE | --url URL] [--failures] [--json FILE] FOLDER…   a folder holds config.yaml, probes.yaml
       probes.py --cases FOLDER                                                   JSON cases: keywords, embeddings, …
       probes.py                                                                   the test: TAP

A probe counts as model-free where no leaf behind its decision, or behind one that would go before it, needs a model;
strict adds that no signal of the answer was left unknown. Exit status 1 where an acceptance of the manifest is missed.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.recipes import LEXICAL, Suite, ask, compare, decision_of, family  # noqa: E402
from support.rootstock import PATIENCE, PROGRAM, ROOT, free_port, wait_for  # noqa: E402

SHARED = pathlib.Path(os.environ.get("ROOTSTOCK_SHARED", ROOT.parent / "shared")) / "conformance" / "semantic-router"
RECIPES = SHARED / "recipes"
AT_ONCE = 2  # requests; one is quick, and others use the machine too


class Router:
    """`rootstock serve` on a policy, or a router that runs elsewhere."""

    def __init__(self, config, program=PROGRAM, url=None):
        self.url, self.process = url, None
        if url:
            return
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = tempfile.TemporaryFile("w+")  # pylint: disable=consider-using-with
        command = [str(program), "serve", "-c", str(config), "--listen", f"127.0.0.1:{port}"]
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        wait_for(self._ready, 60, "rootstock serve")

    def _ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"rootstock ended with {self.process.returncode}:\n{self.said()[-4000:]}")
        try:
            return ask(self.url + "/api/v1/eval", {"text": "ready?"})[0] == 200
        except OSError:
            return False

    def said(self):
        """What it has printed."""
        self.log.seek(0)
        return self.log.read()

    def eval(self, body, headers=None):
        """One evaluation with its trace: (status, answer)."""
        return ask(self.url + "/api/v1/eval?trace=true", body, headers=headers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.process:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Result:
    """One probe's outcome."""

    def __init__(self, probe, policy, status, answer):
        self.probe, self.model_free = probe, probe.model_free(policy)
        if status != 200 or not isinstance(answer, dict):
            self.faults, self.unknown, self.decided = [f"HTTP {status}: {str(answer)[:300]}"], {}, False
            return
        self.unknown = answer.get("signal_errors") or {}
        self.decided = decision_of(answer) == probe.expected
        self.faults = compare(probe, answer, policy.profile(probe.model))
        for name in sorted(self.unknown):
            if family(name.split(":")[0]) in LEXICAL:
                self.faults.append(f"{name} is unknown: {self.unknown[name]}")

    @property
    def passed(self):
        """As the manifest's acceptance counts it, but for signals that this build cannot evaluate."""
        return not self.faults

    @property
    def strict(self):
        """… and every signal was evaluated."""
        return not self.faults and not self.unknown


def run_suite(suite, router):
    """Asks every probe."""
    def one(probe):
        return Result(probe, suite.policy, *router.eval(probe.request()))
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, suite.probes))


def share(results, has=lambda r: r.passed):
    """"12/13"."""
    return f"{sum(1 for r in results if has(r))}/{len(results)}"


def rate(results):
    """Percent that passed; of nothing, all."""
    return 100.0 * sum(1 for r in results if r.passed) / len(results) if results else 100.0


def by_decision(suite, results):
    """[(decision, its results, the rate it must reach)] in the manifest's order."""
    least = (suite.manifest.get("acceptance") or {}).get("min_decision_pass_rate", 100.0)
    return [(d, [r for r in results if r.probe.decision is d], (d.get("robustness") or {}).get("min_pass_rate", least))
            for d in suite.manifest["decisions"]]


def missed(suite, results):
    """Which acceptances of the manifest are not met, as texts."""
    faults, coverage = [], suite.manifest.get("coverage") or {}
    least = (suite.manifest.get("acceptance") or {}).get("min_probe_pass_rate", 100.0)
    if rate(results) < least:
        faults.append(f"probes {rate(results):.1f} %, at least {least:.1f} %")
    faults += [f"decision {d['id']} {rate(part):.1f} %, at least {least:.1f} %"
               for d, part, least in by_decision(suite, results) if rate(part) < least]
    for name, least in (coverage.get("min_tag_pass_rate") or {}).items():
        part = [r for r in results if name in r.probe.categories()]
        if rate(part) < least:
            faults.append(f"tag {name} {rate(part):.1f} %, at least {least:.1f} %")
    for name, least in (coverage.get("min_tag_counts") or {}).items():
        n = sum(1 for r in results if name in r.probe.categories())
        if n < least:
            faults.append(f"tag {name} on {n} probes, at least {least}")
    shapes = {s for r in results for s in ("messages", "tools") if r.probe.variant.get(s)}
    shapes |= {"text" for r in results if r.probe.variant.get("query")}
    return faults + [f"no probe of the shape {s}" for s in set(coverage.get("required_request_shapes") or []) - shapes]


HEADINGS = ("recipe", "probes", "model-free", "decision only", "strict", "decisions", "tags")


def table_rows(suite, results):
    """Rows of the table: the whole suite, and each of its routing profiles where there are several."""
    rows = []
    recipes = sorted({r.probe.recipe for r in results})
    for recipe in [None, *(recipes if len(recipes) > 1 else [])]:
        part = [r for r in results if recipe in (None, r.probe.recipe)]
        groups = [(p, least) for _, p, least in by_decision(suite, part) if p]
        tags = {name: [r for r in part if name in r.probe.categories()]
                for name in sorted({c for r in part for c in r.probe.categories()})}
        rows.append((f"  {recipe}" if recipe else suite.name, share(part), share([r for r in part if r.model_free]),
                     share(part, lambda r: r.decided), share(part, lambda r: r.strict),
                     f"{sum(1 for p, least in groups if rate(p) >= least)}/{len(groups)}",
                     " ".join(f"{name} {share(p)}" for name, p in tags.items())))
    return rows


def print_table(rows, start=""):
    """Columns as wide as they must be."""
    rows = [HEADINGS, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    for row in rows:
        print(start + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip(), flush=True)


def print_failures(results, start=""):
    """A line a failing variant."""
    for r in results:
        if not r.passed:
            kind = "model-free" if r.model_free else "needs a model"
            print(f"{start}{r.probe.recipe}/{r.probe.id} ({kind}): {'; '.join(r.faults)}", flush=True)


# ---- JSON cases ----

KEYWORD_POLICY = r"""version: v0.3
providers:
  defaults: {default_model: small}
  models: [{name: small}]
routing:
  signals:
    keywords:
      - {name: urgent_request, operator: OR, keywords: [urgent, immediate, asap, emergency]}
      - {name: sensitive_data, operator: AND, keywords: [SSN, credit card]}
      - name: regex_pattern_match
        operator: OR
        method: regex
        keywords: ['[\w.+-]+@[\w-]+\.[\w.-]+', '[A-Za-z]:\\(?:[^\\/:*?"<>|\r\n]+\\)*']
  decisions:
    - {name: urgent_request, priority: 30, rules: {type: keyword, name: urgent_request}, modelRefs: [{model: small}]}
    - {name: sensitive_data, priority: 20, rules: {type: keyword, name: sensitive_data}, modelRefs: [{model: small}]}
    - name: regex_pattern_match
      priority: 10
      rules: {type: keyword, name: regex_pattern_match}
      modelRefs: [{model: small}]
"""

# The policies behind these cases are not published with them; ours says what their labels say.
PII_POLICY = """version: v0.3
providers:
  defaults: {default_model: small}
  models: [{name: small}]
routing:
  signals:
    pii: [{name: personal, threshold: 0.5, pii_types_allowed: []}]
  decisions:
    - {name: block_pii, priority: 30, rules: {type: pii, name: personal}, modelRefs: [{model: small}]}
"""

FALLBACK_POLICY = """version: v0.3
providers:
  defaults: {default_model: small}
  models: [{name: small}]
routing:
  signals:
    domains: [DOMAINS]
  decisions: [DECISIONS]
"""
DOMAINS = {"business": "business_decision", "law": "law_decision", "psychology": "psychology_decision",
           "biology": "biology_decision", "chemistry": "chemistry_decision", "history": "history_decision",
           "health": "health_decision", "economics": "economics_decision", "math": "math_decision",
           "physics": "physics_decision", "computer science": "computer_science_decision",
           "philosophy": "philosophy_decision", "engineering": "engineering_decision"}


def embedding_policy(cases):
    """A rule for each label of the cases, by the sentence that describes it in its own name."""
    names = sorted({c["signal_name"] for c in cases})
    rules = [{"name": n, "threshold": 0.5, "candidates": [n.replace("_", " ")]} for n in names]
    decisions = [{"name": f"embedding_{n}", "priority": 10, "rules": {"type": "embedding", "name": n},
                  "modelRefs": [{"model": "small"}]} for n in names]
    return json.dumps({"version": "v0.3",
                       "providers": {"defaults": {"default_model": "small"}, "models": [{"name": "small"}]},
                       "routing": {"signals": {"embeddings": rules}, "decisions": decisions}})


def fallback_policy():
    """A decision a domain, and one for all else."""
    domains = ", ".join(f"{{name: {d}, mmlu_categories: [{d}]}}" for d in DOMAINS)
    decisions = ", ".join(f"{{name: {name}, priority: 10, rules: {{type: domain, name: {d}}}, "
                          "modelRefs: [{model: small}]}" for d, name in DOMAINS.items())
    other = ", {name: other_decision, priority: 1, modelRefs: [{model: small}]}"
    return FALLBACK_POLICY.replace("DOMAINS", domains).replace("DECISIONS", decisions + other)


def matched(answer, key):
    """Names of the matched signals of a family."""
    return (answer.get("decision_result") or {}).get("matched_signals", {}).get(key) or []


def keyword_case(case, answer):
    """The rule that its label names matches, and no other."""
    return sorted(matched(answer, "keywords")) == sorted(case["matched_keywords"])


def embedding_case(case, answer):
    """The rule of the label matches where it should."""
    return (case["signal_name"] in matched(answer, "embeddings")) == case["expected_match"]


def fallback_case(case, answer):
    """The decision of the label."""
    return decision_of(answer) == case["expected_decision"]


def plugin_case(case, answer):
    """Personal data that should block is found, and only then."""
    return (decision_of(answer) == "block_pii") == bool(case["expect_pii_block"])


def selection_case(case, answer):
    """The model is one of those that the label allows."""
    return answer.get("selected_model") in case["expected_models"]


def selection_policy(cases):
    """Recipes of the same candidates, one an algorithm."""
    types = {"thompson": "rl_driven"}  # by its name in a policy
    prices = {"gpt-4": (30, 60), "claude-3-opus": (15, 75), "gpt-3.5-turbo": (0.5, 1.5)}  # as they were listed
    models = list(dict.fromkeys(m for c in cases for m in c["expected_models"]))
    decision = [{"name": "any", "priority": 1, "algorithm": {"type": types.get(a, a)},
                 "modelRefs": [{"model": m} for m in models]} for a in sorted({c["algorithm"] for c in cases})]
    recipes = [{"name": d["algorithm"]["type"], "routing": {"decisions": [d]}} for d in decision
               if d["algorithm"]["type"] != "router_r1"]
    return json.dumps({"version": "v0.3",
                       "providers": {"defaults": {"default_model": models[0]},
                                     "models": [{"name": m, "pricing": dict(zip(("prompt_per_1m", "completion_per_1m"),
                                                                                prices.get(m, (1, 1))))} for m in models]},
                       "routing": {"modelCards": [{"name": m} for m in models]}, "recipes": recipes,
                       "entrypoints": [{"model_names": [r["name"]], "recipe": r["name"]} for r in recipes]})


CASES = {
    "keyword_routing": (lambda cases: KEYWORD_POLICY, keyword_case),
    "embedding_signal": (embedding_policy, embedding_case),
    "decision_fallback": (lambda cases: fallback_policy(), fallback_case),
    "core_selection": (selection_policy, selection_case),
    "plugin_chain": (lambda cases: PII_POLICY, plugin_case),
}


def run_cases(path, program):
    """(cases that are as their labels say, all of them, texts of the others) of one file of JSON cases."""
    policy, is_right = CASES[path.name.removesuffix("_cases.json")]
    cases = json.loads(path.read_text(encoding="utf-8"))
    cases = cases if isinstance(cases, list) else cases["test_cases"]
    right, wrong = 0, []
    with tempfile.TemporaryDirectory(prefix="rootstock-cases-") as folder:
        config = pathlib.Path(folder) / "config.yaml"
        config.write_text(policy(cases), encoding="utf-8")
        with Router(config, program) as router:
            for case in cases:
                body = {"text": case["query"]}
                if "algorithm" in case:
                    body["model"] = {"thompson": "rl_driven"}.get(case["algorithm"], case["algorithm"])
                status, answer = router.eval(body)
                if status == 200 and is_right(case, answer):
                    right += 1
                else:
                    wrong.append(f"{case['query'][:80]!r}: {case}"[:300])
    return right, len(cases), wrong


def print_cases(folder, program, failures=False, start=""):
    """A score a file; {name: (right, all)}."""
    scores = {}
    for path in sorted(pathlib.Path(folder).glob("*_cases.json")):
        name = path.name.removesuffix("_cases.json")
        if name not in CASES:
            continue
        right, total, wrong = run_cases(path, program)
        scores[name] = (right, total)
        print(f"{start}{name}: {right}/{total} as labelled", flush=True)
        for text in wrong if failures else []:
            print(f"{start}  {text}", flush=True)
    return scores


# ---- the test ----

@unittest.skipUnless(RECIPES.is_dir(), f"no third-party recipes at {RECIPES}")
class Probes(unittest.TestCase):
    """What a policy's authors say about requests comes out."""

    def scored(self, folder):
        """Runs a recipe and prints its score."""
        suite = Suite(RECIPES / folder)
        with Router(suite.config) as router:
            results = run_suite(suite, router)
        print_table(table_rows(suite, results), "# ")
        print_failures(results, "# ")
        return suite, results

    def all_model_free_pass(self, results):
        """Fails with what differs where a probe that needs no model does not pass."""
        wrong = [f"{r.probe.id}: {'; '.join(r.faults)}" for r in results if r.model_free and not r.passed]
        self.assertEqual(wrong, [])

    def test_accuracy_passes_whole(self):
        suite, results = self.scored("accuracy")
        self.assertEqual(missed(suite, results), [])
        self.assertEqual(share(results, lambda r: r.strict), "13/13")

    def test_the_model_free_recipes_of_multi_objective_pass_whole(self):
        _, results = self.scored("multi-objective")
        for recipe in ("speed-first", "cost-first"):
            part = [r for r in results if r.probe.recipe == recipe]
            self.assertEqual(share(part, lambda r: r.strict), "14/14", recipe)
        self.all_model_free_pass(results)

    def test_model_free_probes_of_balance_pass(self):
        self.all_model_free_pass(self.scored("balance")[1])

    def test_model_free_probes_of_mom_v1_pass(self):
        self.all_model_free_pass(self.scored("built-in/latest/mom-v1")[1])

    def test_keyword_cases_are_as_labelled(self):
        right, total, wrong = run_cases(SHARED / "e2e" / "keyword_routing_cases.json", PROGRAM)
        self.assertEqual((right, wrong), (total, []))

    def test_other_cases_have_a_score(self):
        scores = print_cases(SHARED / "e2e", PROGRAM, start="# ")
        self.assertEqual(sorted(scores), sorted(CASES))


def program_of(given):
    """The program to run: as given, of the build folder, or of any build folder of this repository."""
    if given or PROGRAM.exists():
        return pathlib.Path(given or PROGRAM)
    built = sorted(ROOT.glob("build*/gateway/rootstock"), key=lambda p: p.stat().st_mtime)
    if not built:
        sys.exit("probes: build the program first, or name it with --program")
    return built[-1]


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="config.yaml and probes.yaml")
    parser.add_argument("--program", help="rootstock")
    parser.add_argument("--url", help="of a router that runs already, instead of a program")
    parser.add_argument("--failures", action="store_true", help="print a line for each variant that fails")
    parser.add_argument("--cases", metavar="FOLDER", help="of JSON cases")
    given = parser.parse_args()
    program = None if given.url else program_of(given.program)
    rows, faults = [], []
    for folder in given.folders:
        suite = Suite(folder)
        with Router(suite.config, program, given.url) as router:
            results = run_suite(suite, router)
        rows += table_rows(suite, results)
        faults += [f"{suite.name}: {text}" for text in missed(suite, results)]
        if given.failures:
            print_failures(results)
    if rows:
        print_table(rows)
    for text in faults:
        print(f"not accepted: {text}")
    if given.cases:
        print_cases(given.cases, program, given.failures)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main()
    tap.main()
