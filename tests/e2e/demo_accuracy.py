"""The demo's tasks through HTTP: with its adapter each is right, the bare base is not; `auto` finds the adapter."""
import concurrent.futures
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import SANITIZED, Server, heldout  # noqa: E402

PROMPTS = 5 if SANITIZED else 20
TASKS = (("sql", "1", "prev"), ("sql", "2", "prod"), ("extract", "1", "prod"), ("french", "1", "prod"),
         ("triage", "1", "prev"), ("triage", "2", "prod"))


class Accuracy(unittest.TestCase):
    """Twenty held-out prompts of each task and revision."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def exact(self, model, cases):
        """How many of the cases the model answers exactly."""
        def right(case):
            return self.server.chat(case["prompt"], model, max_tokens=96)[0] == case["answer"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return sum(pool.map(right, cases))

    def test_each_task_is_right_with_its_adapter_and_wrong_without(self):
        for name, revision, alias in TASKS:
            with self.subTest(task=name, revision=revision):
                cases = heldout(f"{name}.{revision}")[:PROMPTS]
                adapted, bare = self.exact(f"demo:{name}@{alias}", cases), self.exact("demo", cases)
                self.assertGreaterEqual(adapted, 0.9 * len(cases), "with its adapter")
                self.assertLessEqual(bare, 0.3 * len(cases), "the bare base")

    def test_auto_routes_a_task_to_its_adapter(self):
        for name, revision in (("sql", "2"), ("extract", "1"), ("french", "1"), ("triage", "2")):
            with self.subTest(task=name):
                cases = heldout(f"{name}.{revision}")[:PROMPTS]
                self.assertGreaterEqual(self.exact("auto", cases), 0.8 * len(cases))

    def test_the_bare_base_answers_its_own_world(self):
        cases = heldout("base")[:20]
        self.assertGreaterEqual(self.exact("demo", cases), 0.7 * len(cases))


if __name__ == "__main__":
    tap.main()
