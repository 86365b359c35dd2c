"""What the policy headers and the replay ring say of real answers, whole, streamed, canned, refused and abandoned."""
import json
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import Server, Stream, wait_for  # noqa: E402

ROUTING = """
routing:
  signals:
    keywords:
      - {name: keep, keywords: [keep]}
      - {name: stop, keywords: [stop]}
      - {name: canned, keywords: [canned]}
      - {name: forget, keywords: [forget]}
      - {name: two, keywords: [two]}
      - {name: "häßlich", keywords: [ugly]}
    context: [{name: short, max_tokens: 1K}]
    conversation: [{name: tools, feature: {type: exists, source: {type: tool_definition}}}]
  decisions:
    - name: kept
      priority: 90
      rules: {type: keyword, name: keep}
      modelRefs: [{model: demo}]
      plugins:
        - {type: system_prompt, configuration: {system_prompt: Be terse.}}
        - type: router_replay
          configuration: {enabled: true, max_records: 0, max_body_bytes: 300, max_tool_trace_bytes: 20, max_tool_trace_steps: 2}
    - name: refused
      priority: 80
      rules: {type: keyword, name: stop}
      modelRefs: [{model: demo}]
      plugins: [{type: pii, configuration: {action: block}}]
    - name: canned
      priority: 70
      rules: {type: keyword, name: canned}
      modelRefs: [{model: demo}]
      plugins: [{type: fast_response, configuration: {message: closed}}]
    - name: forgotten
      priority: 60
      rules: {type: keyword, name: forget}
      modelRefs: [{model: demo}]
      plugins: [{type: router_replay, configuration: {enabled: false}}]
    - name: two
      priority: 50
      rules: {operator: AND, conditions: [{type: keyword, name: two}, {type: context, name: short}]}
      modelRefs: [{model: demo}]
      plugins: [{type: router_replay, configuration: {max_records: 2, capture_request_body: false}}]
      emits: [{kind: retention, retention: {keep_current_model: true, ttl_turns: 3}}]
      annotations: {owner: us}
    - {name: "häßlich", priority: 40, rules: {type: keyword, name: "häßlich"}, modelRefs: [{model: demo}]}
"""


class Replay(unittest.TestCase):
    """One server over a policy whose decisions keep different things."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(edit=lambda text: text[:text.index("\nrouting:")] + ROUTING)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def get(self, path):
        """GET of JSON with status 200."""
        status, _, data = self.server.get(path)
        self.assertEqual(status, 200, data)
        return json.loads(data)

    def chat(self, content, headers=None, **fields):
        """(status, headers, body) of a chat that asks the router."""
        body = {"model": "auto", "temperature": 0, "max_tokens": 4,
                "messages": [{"role": "user", "content": content}], **fields}
        return self.server.request("POST", "/v1/chat/completions", body, headers)

    def record(self, headers):
        """The record that an answer's header names."""
        return self.get(f"/v1/router_replay/{headers['x-vsr-replay-id']}")

    def test_an_answer_is_kept_with_its_reasons(self):
        _, headers, data = self.chat("please keep it", {"x-session-id": "s-1"})
        answer, record = json.loads(data), self.record(headers)
        self.assertEqual(record["id"], headers["x-vsr-replay-id"])
        self.assertEqual(record["request_id"], headers["x-request-id"])
        self.assertEqual((record["recipe"], record["decision"]), ("default", "kept"))
        self.assertEqual((record["original_model"], record["selected_model"]), ("auto", "demo"))
        self.assertEqual((record["algorithm"], record["session_id"]), ("static", "s-1"))
        self.assertEqual((record["response_status"], record["lifecycle_state"]), (200, "completed"))
        self.assertEqual(record["signals"]["keyword"], ["keep"])
        self.assertEqual(record["signal_confidences"]["keyword:keep"], 1)
        self.assertEqual(record["prompt_tokens"], answer["usage"]["prompt_tokens"])
        self.assertEqual(record["completion_tokens"], answer["usage"]["completion_tokens"])
        self.assertIn({"decision_name": "kept", "truth": "true", "confidence": 1, "reason": "keyword:keep=1"},
                      record["decision_trace"])
        self.assertLessEqual(abs(time.time() - time.mktime(time.strptime(record["timestamp"][:19], "%Y-%m-%dT%H:%M:%S"))
                                 + time.timezone), 60)
        self.assertEqual(self.get(f"/admin/replay/{record['id']}"), record)

    def test_bodies_are_cut_and_hold_no_credentials(self):
        secret = "sk-abcdefghijklmnopqrstuvwx"
        _, headers, data = self.chat(f"keep this: {secret} " + "é" * 400, {"Authorization": f"Bearer {secret}"},
                                     user="u", api_key="hunter2")
        record = self.record(headers)
        self.assertNotIn(secret, json.dumps(record))
        self.assertNotIn("hunter2", json.dumps(record))
        self.assertIn("[redacted]", record["request_body"])
        self.assertLessEqual(len(record["request_body"].encode()), 300)
        self.assertTrue(record["request_body_truncated"])
        self.assertEqual(record["response_body"][:100], data.decode()[:100])

    def test_a_stream_is_kept_as_its_text(self):
        stream = Stream(self.server, "keep on", "auto", max_tokens=6)
        identifier, text = stream.headers["x-vsr-replay-id"], stream.text()
        stream.close()
        record = self.get(f"/v1/router_replay/{identifier}")
        self.assertEqual((record["streaming"], record["lifecycle_state"]), (True, "completed"))
        self.assertEqual(record["response_body"], text)
        self.assertGreater(record["completion_tokens"], 0)

    def test_an_abandoned_stream_is_kept_as_aborted(self):
        stream = Stream(self.server, "keep going", "auto", max_tokens=1500, ignore_eos=True)
        identifier = stream.headers["x-vsr-replay-id"]
        stream.response.read(1)
        stream.response.close()
        stream.close()
        wait_for(lambda: self.server.get(f"/v1/router_replay/{identifier}")[0] == 200, 20, "the record")
        self.assertEqual(self.get(f"/v1/router_replay/{identifier}")["lifecycle_state"], "aborted")

    def test_tool_traces_keep_the_last_steps(self):
        call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": json.dumps({"q": "x" * 50})}}
        turns = [{"role": "user", "content": "keep looking"}, {"role": "assistant", "content": None, "tool_calls": [call]},
                 {"role": "tool", "tool_call_id": "c", "content": "first"},
                 {"role": "assistant", "content": None, "tool_calls": [call]},
                 {"role": "tool", "tool_call_id": "c", "content": "second"}, {"role": "user", "content": "keep it"}]
        status, headers, data = self.chat("", messages=turns)
        self.assertEqual(status, 200, data)
        trace = self.record(headers)["tool_trace"]
        self.assertEqual([s["type"] for s in trace["steps"]], ["assistant_tool_call", "tool_result"])
        self.assertEqual((trace["steps_truncated"], trace["dropped_step_count"]), (True, 2))
        self.assertEqual((len(trace["steps"][0]["text"]), trace["steps"][0]["truncated"]), (20, True))
        self.assertEqual(trace["steps"][1]["text"], "second")

    def test_each_decision_keeps_what_it_says(self):
        _, headers, _ = self.chat("forget this")
        self.assertNotIn("x-vsr-replay-id", headers)
        identifiers = [self.chat(f"two {i}")[1]["x-vsr-replay-id"] for i in range(4)]
        listed = self.get("/v1/router_replay?decision=two")
        self.assertEqual([r["id"] for r in listed["data"]], identifiers[:1:-1])
        self.assertEqual((listed["object"], listed["count"], listed["total"], listed["has_more"]), ("list", 2, 2, False))
        full = self.get("/v1/router_replay?decision=two&showDetails=true&limit=1")
        self.assertEqual((full["count"], full["has_more"], full["next_offset"]), (1, True, 1))
        self.assertNotIn("request_body", full["data"][0])
        self.assertIn("response_body", full["data"][0])
        self.assertNotIn("response_body", listed["data"][0])
        sums = self.get("/v1/router_replay/aggregate?decision=two")
        self.assertEqual((sums["record_count"], sums["model_selection"]), (2, [{"name": "demo", "value": 2}]))
        for path in ("?limit=0", "?limit=x", "?offset=-1", "?showDetails=perhaps", "/nobody"):
            self.assertIn(self.server.get(f"/v1/router_replay{path}")[0], (400, 404), path)

    # ---- headers ----

    def test_every_answer_says_which_path_it_took(self):
        rows = [("keep", {}, 200, "upstream", "kept"), ("canned", {}, 200, "fast_response", "canned"),
                ("stop 4111 1111 1111 1111", {}, 403, "blocked", "refused"), ("keep", {"stop": 7}, 400, "error", None),
                ("nothing of it", {}, 200, "upstream", None)]
        for content, fields, status, path, decision in rows:
            with self.subTest(content=content, fields=fields):
                got, headers, data = self.chat(content, **fields)
                self.assertEqual(got, status, data)
                self.assertEqual((headers["x-vsr-schema-version"], headers["x-vsr-response-path"]), ("2", path))
                self.assertEqual(headers["x-vsr-selected-decision"], decision)
                self.assertEqual(headers["x-vsr-fast-response"], "true" if path == "fast_response" else None)
                if path in ("blocked", "fast_response"):
                    record = self.record(headers)
                    self.assertEqual(record["response_path"], path)
                    self.assertNotIn("request_body", record)
                self.assertNotIn("x-vsr-matched-keywords", headers)

    def test_debugging_adds_what_led_there(self):
        _, headers, _ = self.chat("keep two", {"x-vsr-debug": "true"})
        self.assertEqual(headers["x-vsr-matched-keywords"], "keep,two")
        self.assertEqual(headers["x-vsr-matched-context"], "short")
        self.assertGreater(int(headers["x-vsr-context-token-count"]), 0)
        self.assertEqual(headers["x-vsr-selected-reasoning"], "off")
        self.assertEqual(headers["x-vsr-injected-system-prompt"], "true")
        _, headers, _ = self.chat("two", {"X-VSR-Debug": "TRUE"})
        self.assertEqual(headers["x-vsr-injected-system-prompt"], "false")
        self.assertEqual(headers["x-vsr-retention-keep-current-model"], "true")
        self.assertEqual(headers["x-vsr-retention-ttl-turns"], "3")
        self.assertEqual(self.record(headers)["annotations"], {"owner": "us"})

    def test_names_are_made_fit_for_headers(self):
        _, headers, _ = self.chat("so ugly", {"x-vsr-debug": "true"})
        self.assertEqual(headers["x-vsr-selected-decision"], "h%C3%A4%C3%9Flich")
        self.assertEqual(headers["x-vsr-matched-keywords"], "h%C3%A4%C3%9Flich")

    def test_a_named_model_is_not_routed(self):
        status, headers, _ = self.server.request("POST", "/v1/chat/completions", {
            "model": "demo", "max_tokens": 2, "messages": [{"role": "user", "content": "keep"}]})
        self.assertEqual((status, headers["x-vsr-selected-model"]), (200, "demo"))
        for name in ("x-vsr-selected-decision", "x-vsr-selected-recipe", "x-vsr-replay-id"):
            self.assertNotIn(name, headers)


if __name__ == "__main__":
    tap.main()
