"""Gemini, Vertex AI and Bedrock as a stand-in serves them: it verifies signatures and tokens by its own means, and
answers in their wires. The gateway's clients speak OpenAI's and Anthropic's."""
import base64
import concurrent.futures
import hashlib
import hmac
import http.server
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import tap  # noqa: E402
from support.rootstock import Server, free_port  # noqa: E402

KEY_ID, SECRET, SESSION, API_KEY = "AKIDTEST", "s3cr3t/with+signs=", "session/token==", "gemini-api-key"
CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"


def sign(method, path, headers, body, region):
    """The authorization of AWS Signature Version 4, from its description."""
    given = dict(re.findall(r"(\w+)=([^, ]+)", headers["authorization"]))
    names = given["SignedHeaders"].split(";")
    canonical = "\n".join([
        method, urllib.parse.quote(path, safe="/~"), "",
        *[f"{n}:{' '.join(headers[n].split())}" for n in names], "", ";".join(names),
        hashlib.sha256(body).hexdigest()])
    day = headers["x-amz-date"][:8]
    scope = f"{day}/{region}/bedrock/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope,
                         hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + SECRET.encode()
    for part in (day, region, "bedrock", "aws4_request", to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return (f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={key.hex()}")


def frame(kind, payload, exception=False):
    """A frame of an AWS event stream."""
    def text(name, value):
        return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    body = json.dumps(payload).encode()
    head = text(":message-type", "exception" if exception else "event")
    head += text(":exception-type" if exception else ":event-type", kind)
    prelude = struct.pack(">II", 16 + len(head) + len(body), len(head))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + body
    return whole + struct.pack(">I", zlib.crc32(whole))


class Cloud(http.server.BaseHTTPRequestHandler):
    """All of them under one address."""
    protocol_version = "HTTP/1.1"
    tokens = 0
    public_key = None
    seen = []

    def log_message(self, *_):
        pass

    def do_POST(self):
        """One call."""
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {k.lower(): v for k, v in self.headers.items()}
        path = urllib.parse.unquote(self.path)
        Cloud.seen.append((path, json.loads(body) if body[:1] == b"{" else body.decode()))
        if self.path == "/token":
            return self.token(body.decode())
        if path.startswith("/model/"):
            return self.bedrock(path, headers, body)
        if path.startswith("/v1beta/"):
            if headers.get("x-goog-api-key") != API_KEY:
                return self.whole(403, {"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}})
        elif headers.get("authorization") not in [f"Bearer ya29.{i + 1}" for i in range(Cloud.tokens)]:
            return self.whole(401, {"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}})
        return self.google(path, json.loads(body))

    def send(self, status, kind, body):
        """An answer with its length."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def whole(self, status, document):
        """One document."""
        self.send(status, "application/json", json.dumps(document).encode())

    def token(self, form):
        """Google's token server: the assertion's signature is verified by openssl."""
        assertion = urllib.parse.parse_qs(form)["assertion"][0]
        signed, _, signature = assertion.rpartition(".")
        claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
        with tempfile.TemporaryDirectory() as folder:
            raw = pathlib.Path(folder) / "signature"
            raw.write_bytes(base64.urlsafe_b64decode(signature + "=="))
            good = subprocess.run(["openssl", "dgst", "-sha256", "-verify", Cloud.public_key, "-signature", raw],
                                  input=signed.encode(), capture_output=True, check=False).returncode == 0
        if not good or claims["iss"] != "sa@p.example":
            return self.whole(400, {"error": "invalid_grant"})
        Cloud.tokens += 1
        return self.whole(200, {"access_token": f"ya29.{Cloud.tokens}", "expires_in": 3600, "token_type": "Bearer"})

    def google(self, path, body):
        """generateContent, its stream, embeddings; Claude's wire for Claude."""
        usage = {"promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 2}
        if path.endswith(":batchEmbedContents"):
            n = len(body["requests"])
            return self.whole(200, {"embeddings": [{"values": [i + 1.0, 0.0, 0.0]} for i in range(n)]})
        if path.endswith("count-tokens:rawPredict"):
            return self.whole(200, {"input_tokens": 11})
        if path.endswith(":countTokens"):
            return self.whole(200, {"totalTokens": 12})
        if path.endswith(":rawPredict"):
            return self.whole(200, {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
                                    "content": [{"type": "text", "text": "Salut"}], "stop_reason": "end_turn",
                                    "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1}})
        parts = [{"text": "Hm", "thought": True}, {"text": "Hel"}, {"text": "lo"}]
        if body.get("tools"):
            parts = [{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}]
        if path.endswith(":generateContent"):
            return self.whole(200, {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
                                    "usageMetadata": usage})
        chunks = [{"candidates": [{"content": {"parts": [p]}}]} for p in parts]
        chunks.append({"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage})
        text = "".join(f"data: {json.dumps(c)}\r\n\r\n" for c in chunks)
        return self.send(200, "text/event-stream", text.encode())

    def bedrock(self, path, headers, body):
        """Converse, ConverseStream and InvokeModel."""
        good = "authorization" in headers and headers.get("x-amz-security-token") == SESSION and \
            headers["authorization"] == sign("POST", self.path, headers, body, "eu-west-1")
        if not good:
            return self.whole(403, {"message": "The request signature we calculated does not match"})
        if path.endswith("/invoke-with-response-stream"):
            message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [],
                       "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 4, "output_tokens": 1}}
            events = [{"type": "message_start", "message": message},
                      {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                      {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
                      {"type": "content_block_stop", "index": 0},
                      {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                       "usage": {"output_tokens": 2}},
                      {"type": "message_stop"}]
            chunks = [{"bytes": base64.b64encode(json.dumps(e).encode()).decode(), "p": "abc"} for e in events]
            return self.send(200, "application/vnd.amazon.eventstream", b"".join(frame("chunk", c) for c in chunks))
        if path.endswith("/count-tokens"):
            return self.whole(200, {"inputTokens": 13})
        if path.endswith("/invoke"):
            return self.whole(200, {"embedding": [len(json.loads(body)["inputText"]), 0.0], "inputTextTokenCount": 2})
        if path.endswith("/converse"):
            return self.whole(200, {"output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
                                    "stopReason": "end_turn",
                                    "usage": {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}})
        frames = [frame("messageStart", {"role": "assistant", "p": "ab"}),
                  frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}, "p": "abcd"})]
        if "fail" in json.dumps(json.loads(body)["messages"]):
            frames.append(frame("throttlingException", {"message": "Too many requests"}, exception=True))
        else:
            frames += [frame("messageStop", {"stopReason": "max_tokens"}),
                       frame("metadata", {"usage": {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}})]
        return self.send(200, "application/vnd.amazon.eventstream", b"".join(frames))


CONFIG = """
engine:
  models:
    - name: gem
      upstream: {{provider: gemini, url: "{url}", model: gemini-2.5-flash, key_env: TEST_GEMINI_KEY}}
    - name: nokey
      upstream: {{provider: gemini, url: "{url}", model: gemini-2.5-flash, key_env: TEST_WRONG_KEY}}
    - name: vert
      upstream: {{provider: vertex, url: "{url}", model: gemini-2.5-pro, project: p, region: global,
                  credentials: "{account}"}}
    - name: vclaude
      upstream: {{provider: vertex, url: "{url}", model: claude-sonnet-4-5, project: p, region: global,
                  credentials: "{account}"}}
    - name: nova
      upstream: {{provider: bedrock, url: "{url}", model: "amazon.nova-pro-v1:0", region: eu-west-1}}
    - name: titan
      upstream: {{provider: bedrock, url: "{url}", model: "amazon.titan-embed-text-v2:0", region: eu-west-1}}
    - name: bclaude
      upstream: {{provider: bedrock, url: "{url}", model: "{claude}", region: eu-west-1}}
"""


class Clouds(unittest.TestCase):
    """One gateway before all of them."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.folder.name)
        subprocess.run(["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-out", folder / "key.pem"], check=True,
                       capture_output=True)
        Cloud.public_key = folder / "public.pem"
        subprocess.run(["openssl", "pkey", "-in", folder / "key.pem", "-pubout", "-out", Cloud.public_key], check=True)
        port = free_port()
        cls.cloud = http.server.ThreadingHTTPServer(("127.0.0.1", port), Cloud)
        threading.Thread(target=cls.cloud.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{port}"
        account = folder / "account.json"
        account.write_text(json.dumps({"type": "service_account", "client_email": "sa@p.example", "private_key_id": "1",
                                       "private_key": (folder / "key.pem").read_text(encoding="ascii"),
                                       "token_uri": f"{url}/token"}), encoding="ascii")
        env = {"TEST_GEMINI_KEY": API_KEY, "TEST_WRONG_KEY": "wrong-key", "AWS_ACCESS_KEY_ID": KEY_ID,
               "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SESSION}
        cls.server = Server(text=CONFIG.format(url=url, account=account, claude=CLAUDE), env=env)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.cloud.shutdown()
        cls.cloud.server_close()
        cls.folder.cleanup()

    def ask(self, path, **body):
        """The answer's document."""
        status, _, data = self.server.request("POST", path, body)
        self.assertEqual(status, 200, data[:500])
        return json.loads(data)

    def chat(self, model, **fields):
        """One of the Chat Completions API."""
        return self.ask("/v1/chat/completions", **{"model": model, "messages": [{"role": "user", "content": "x"}], **fields})

    def stream(self, path, **body):
        """The events of a stream, as JSON; "[DONE]" as it is."""
        status, _, data = self.server.request("POST", path, {"stream": True, **body})
        self.assertEqual(status, 200, data[:500])
        lines = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]

    def test_gemini_answers_a_client_of_openai(self):
        answer = self.chat("gem")
        self.assertEqual(answer["model"], "gem")
        self.assertEqual(answer["choices"][0]["message"]["content"], "Hello")
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
        self.assertEqual((answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]), (7, 5))
        self.assertEqual(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 2)

    def test_gemini_streams_to_a_client_of_openai(self):
        events = self.stream("/v1/chat/completions", model="gem", messages=[{"role": "user", "content": "x"}],
                             stream_options={"include_usage": True})
        self.assertEqual(events[-1], "[DONE]")
        deltas = [c["delta"] for e in events[:-1] for c in e["choices"]]
        self.assertEqual("".join(d.get("content") or "" for d in deltas), "Hello")
        self.assertEqual(events[-2]["usage"]["total_tokens"], 12)

    def test_gemini_calls_tools(self):
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        choice = self.chat("gem", tools=tools)["choices"][0]
        self.assertEqual(choice["finish_reason"], "tool_calls")
        self.assertEqual(choice["message"]["tool_calls"][0]["function"], {"name": "f", "arguments": '{"a": 1}'})

    def test_gemini_answers_a_client_of_anthropic(self):
        answer = self.ask("/v1/messages", model="gem", max_tokens=50, messages=[{"role": "user", "content": "x"}])
        self.assertEqual([b["text"] for b in answer["content"] if b["type"] == "text"], ["Hello"])
        self.assertEqual(answer["stop_reason"], "end_turn")

    def test_every_wire_before_every_cloud(self):
        said = [{"role": "user", "content": "x"}]
        fronts = {
            "/v1/chat/completions": ({"messages": said}, lambda a: a["choices"][0]["message"]["content"],
                                     lambda e: "".join(c["delta"].get("content") or "" for c in e.get("choices", []))),
            "/v1/completions": ({"prompt": "x"}, lambda a: a["choices"][0]["text"],
                                lambda e: "".join(c["text"] for c in e.get("choices", []))),
            "/v1/responses": ({"input": "x"},
                              lambda a: "".join(p["text"] for o in a["output"] if o["type"] == "message"
                                                for p in o["content"]),
                              lambda e: e["delta"] if e["type"] == "response.output_text.delta" else ""),
            "/v1/messages": ({"messages": said, "max_tokens": 50},
                             lambda a: "".join(b["text"] for b in a["content"] if b["type"] == "text"),
                             lambda e: e.get("delta", {}).get("text", "")),
        }
        texts = {"gem": "Hello", "vert": "Hello", "vclaude": "Salut", "nova": "Hello", "bclaude": None}
        for path, (body, whole, piece) in fronts.items():
            for model, text in texts.items():
                with self.subTest(path=path, model=model):
                    if text:
                        self.assertEqual(whole(self.ask(path, model=model, **body)), text)
                    if model == "vclaude":
                        continue
                    events = [e for e in self.stream(path, model=model, **body) if e != "[DONE]"]
                    said_text = "".join(map(piece, events))
                    self.assertEqual(said_text, text or ("Hi" if path == "/v1/messages" else "Hello"))

    def test_gemini_embeds(self):
        answer = self.ask("/v1/embeddings", model="gem", input=["a", "b"])
        self.assertEqual([len(d["embedding"]) for d in answer["data"]], [3, 3])

    def test_what_embeds_one_text_a_call_is_asked_as_often(self):
        answer = self.ask("/v1/embeddings", model="titan", input=["a", "bb", "ccc"])
        self.assertEqual([d["index"] for d in answer["data"]], [0, 1, 2])
        self.assertEqual(answer["usage"]["prompt_tokens"], 6)
        texts = [body["inputText"] for path, body in Cloud.seen if path.endswith("/invoke")]
        self.assertEqual(texts[-3:], ["a", "bb", "ccc"])

    def test_each_counts_in_its_own_words(self):
        for model, n in (("vclaude", 11), ("gem", 12), ("vert", 12), ("nova", 13), ("bclaude", 13)):
            with self.subTest(model):
                answer = self.ask("/v1/messages/count_tokens", model=model, system="Be brief.",
                                  messages=[{"role": "user", "content": "x"}])
                self.assertEqual(answer, {"input_tokens": n})
        self.assertIn(("/model/anthropic.claude-sonnet-4-20250514-v1:0/count-tokens",
                       {"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "x"}]}],
                                               "system": [{"text": "Be brief."}]}}}), Cloud.seen)

    def test_a_signature_comes_with_its_block(self):
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        message = self.chat("gem", tools=tools)["choices"][0]["message"]
        self.assertEqual(message["thinking_blocks"], [{"type": "thinking", "thinking": "", "signature": "c2ln"}])
        self.chat("gem", tools=tools, messages=[{"role": "user", "content": "x"}, message,
                                                {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"],
                                                 "content": "r"}])
        self.assertEqual(Cloud.seen[-1][1]["contents"][1]["parts"],
                         [{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}])

    def test_a_wrong_key_is_not_the_clients_fault_and_not_told(self):
        status, _, data = self.server.request(
            "POST", "/v1/chat/completions", {"model": "nokey", "messages": [{"role": "user", "content": "x"}]})
        self.assertEqual(status, 502, data)
        self.assertNotIn(b"wrong-key", data)

    def test_vertex_gets_one_token_for_many(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: self.chat("vert"), range(24)))
        self.assertEqual({a["choices"][0]["message"]["content"] for a in answers}, {"Hello"})
        tokens = sum(path == "/token" for path, _ in Cloud.seen)
        self.assertLessEqual(tokens, 2)  # of two models

    def test_claude_on_vertex(self):
        answer = self.ask("/v1/messages", model="vclaude", max_tokens=50, unknown={"kept": [1]},
                          messages=[{"role": "user", "content": "x"}])
        self.assertEqual(answer["content"], [{"type": "text", "text": "Salut"}])
        path, body = [s for s in Cloud.seen if s[0].endswith(":rawPredict")][-1]
        self.assertEqual(path, "/v1/projects/p/locations/global/publishers/anthropic/models/"
                               "claude-sonnet-4-5:rawPredict")
        self.assertEqual((body["anthropic_version"], body["unknown"]), ("vertex-2023-10-16", {"kept": [1]}))
        self.assertNotIn("model", body)

    def test_bedrock_takes_the_signature(self):
        answer = self.chat("nova")
        self.assertEqual(answer["choices"][0]["message"]["content"], "Hello")
        self.assertEqual(answer["usage"]["total_tokens"], 12)

    def test_bedrock_streams(self):
        events = self.stream("/v1/chat/completions", model="nova", messages=[{"role": "user", "content": "x"}])
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual([c["finish_reason"] for e in events[:-1] for c in e["choices"] if c["finish_reason"]],
                         ["length"])

    def test_an_exception_in_bedrocks_stream_is_an_error_in_ours(self):
        events = self.stream("/v1/chat/completions", model="nova", messages=[{"role": "user", "content": "fail"}])
        errors = [e["error"] for e in events if e != "[DONE]" and "error" in e]
        self.assertEqual([e["message"] for e in errors], ["bedrock: Too many requests"])
        self.assertFalse(any(c["finish_reason"] for e in events if "choices" in e for c in e["choices"]))

    def test_claude_on_bedrock_passes_anthropics_events(self):
        events = self.stream("/v1/messages", model="bclaude", max_tokens=50, unknown=1,
                             messages=[{"role": "user", "content": "x"}])
        self.assertEqual([e["type"] for e in events if e["type"] != "ping"],
                         ["message_start", "content_block_start", "content_block_delta", "content_block_stop",
                          "message_delta", "message_stop"])
        self.assertEqual(events[0]["message"]["model"], "bclaude")
        path, body = [s for s in Cloud.seen if s[0].endswith("/invoke-with-response-stream")][-1]
        self.assertEqual(path, f"/model/{CLAUDE}/invoke-with-response-stream")
        self.assertEqual((body["anthropic_version"], body["unknown"]), ("bedrock-2023-05-31", 1))

    def test_zz_no_secret_is_logged(self):
        text = self.server.log_text()
        for secret in (SECRET, SESSION, API_KEY, "wrong-key", "ya29", "PRIVATE KEY"):
            self.assertNotIn(secret, text)


if __name__ == "__main__":
    tap.main()
