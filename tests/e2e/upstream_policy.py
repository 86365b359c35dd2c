"""A policy's models behind are served as they are: one gateway's embedded model is an endpoint of another's."""
import json
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import ROOT, Server, Stream  # noqa: E402

BEHIND = f"engine: {{models: [{{name: demo, path: {ROOT}/models/demo.gguf, slots: 4}}]}}\n"
AUTH = "gateway: {auth: {keys_env: TEST_KEYS}}\n"
SECRET = "sk-of-the-policy-0123456789"


def policy(behind):
    """Models behind in both languages; the policy's has its key in it, as old ones do."""
    return f"""
version: v0.3
engine:
  models:
    - name: ours
      pricing: {{prompt_per_1m: 1000, cached_input_per_1m: 1000, completion_per_1m: 5000}}
      upstream: {{url: "http://127.0.0.1:{behind.port}", model: demo, key_env: TEST_KEY}}
providers:
  defaults: {{default_model: org/theirs}}
  models:
    - name: org/theirs
      provider_model_id: demo
      pricing: {{currency: EUR, prompt_per_1m: 2000, completion_per_1m: 1000}}
      reliability: {{lb_policy: round_robin, retry_count: 1, consecutive_5xx: 2, base_ejection_time: 30s}}
      backend_refs:
        - {{name: gone, endpoint: "127.0.0.1:1", protocol: http, weight: 1, api_key: {SECRET}}}
        - {{name: there, endpoint: "127.0.0.1:{behind.port}", protocol: http, weight: 1, api_key: {SECRET}}}
routing:
  signals: {{keywords: [{{name: code, keywords: [python]}}]}}
  decisions:
    - {{name: coding, rules: {{type: keyword, name: code}}, modelRefs: [{{model: ours}}]}}
"""


class UpstreamPolicy(unittest.TestCase):
    """Two gateways: what is behind asks for a key."""

    @classmethod
    def setUpClass(cls):
        cls.behind = Server(text=BEHIND + AUTH, env={"TEST_KEYS": SECRET})
        cls.front = Server(text=policy(cls.behind), env={"TEST_KEY": SECRET})

    @classmethod
    def tearDownClass(cls):
        cls.front.stop()
        cls.behind.stop()

    def ask(self, model, content, **fields):
        body = {"model": model, "max_tokens": 8, "temperature": 0,
                "messages": [{"role": "user", "content": content}], **fields}
        status, headers, data = self.front.request("POST", "/v1/chat/completions", body)
        self.assertEqual(status, 200, data)
        return json.loads(data), headers

    def test_a_model_of_a_policy_answers_though_one_endpoint_is_gone(self):
        for _ in range(6):
            answer, _headers = self.ask("org/theirs", "Hello")
            self.assertEqual(answer["model"], "org/theirs")
            self.assertGreater(answer["usage"]["completion_tokens"], 0)

    def test_operators_see_how_endpoints_are(self):
        for _ in range(6):
            self.ask("org/theirs", "Hello")
        status, _, data = self.front.get("/admin/upstream")
        self.assertEqual(status, 200)
        models = {m["model"]: m["endpoints"] for m in json.loads(data)["data"]}
        self.assertEqual(set(models), {"ours", "org/theirs"})
        gone, there = models["org/theirs"]
        self.assertEqual((gone["name"], gone["provider"], gone["state"]), ("gone", "openai", "ejected"))
        self.assertGreaterEqual(gone["faults"], 2)
        self.assertEqual((there["name"], there["state"], there["running"], there["faults"]), ("there", "healthy", 0, 0))
        self.assertGreaterEqual(there["requests"], 6)
        self.assertGreater(there["first_token_ms"], 0)

    def test_decisions_choose_among_models_behind(self):
        answer, headers = self.ask("auto", "some python, please")
        self.assertEqual(headers["x-vsr-selected-decision"], "coding")
        self.assertEqual(headers["x-vsr-selected-model"], "ours")
        answer, headers = self.ask("auto", "something else")
        self.assertEqual(headers["x-vsr-selected-model"], "org/theirs")
        self.assertTrue(answer["choices"][0]["message"]["content"])

    def test_a_request_costs_what_its_model_does(self):
        def spent():
            text = self.front.get("/metrics")[2].decode()
            return int(re.search(r"^rootstock_cost_millionths_total (\d+)", text, re.M).group(1))

        before = spent()
        answer, _ = self.ask("ours", "What does this cost?")
        usage = answer["usage"]
        cost = (usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 5000) / 1e6
        stream = Stream(self.front, "And this, in a stream?", "ours", max_tokens=8)
        for _ in stream.response:
            pass
        self.front.request("GET", "/health")  # the stream's request has departed by then
        logged = [float(c) for c in re.findall(r"model=ours .* cost=([0-9.e-]+)USD", self.front.log_text())]
        self.assertIn(True, [abs(c - cost) < 1e-9 for c in logged])
        self.assertAlmostEqual((spent() - before) / 1e6, sum(logged[-2:]), places=5)
        self.ask("org/theirs", "In euros?")
        self.assertRegex(self.front.log_text(), r"model=org/theirs .* cost=[0-9.e-]+EUR")

    def test_a_policy_s_key_is_sent_and_never_shown(self):
        self.ask("org/theirs", "Hello")
        shown = [self.front.log_text(), self.behind.log_text(), self.front.cli("check").stdout,
                 self.front.cli("check", "--json").stdout, self.front.cli("check", "--reference", config=False).stdout]
        for path in ("/metrics", "/v1/models", "/v1/router_replay", "/admin/replay", "/admin/adapters", "/admin/upstream", "/ready"):
            shown.append(self.front.get(path)[2].decode())
        for i, text in enumerate(shown):
            self.assertNotIn(SECRET, text, i)


if __name__ == "__main__":
    tap.main()
