"""The stock openai client for Python and OpenAI's files and batches: uploads, validation, answers, cancelling, tenants,
a restart in the middle, and clients beside a running batch."""
import io
import json
import os
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import openai_schema, tap  # noqa: E402
from support.rootstock import PATIENCE, ROOT, Server, wait_for  # noqa: E402

VENV = ROOT / ".venv" / "bin" / "python"
if VENV.exists() and pathlib.Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
    os.execv(str(VENV), [str(VENV), *sys.argv])

try:
    import openai
    import pydantic  # which it needs
except ImportError:
    openai = None

CHAT = "/v1/chat/completions"
KEYS = {"ROOTSTOCK_E2E_KEYS": "key-of-nobody,key-of-acme=acme,key-of-globex=globex"}
ENDED = ("completed", "failed", "expired", "cancelled")


def with_batches(*more):
    """Edits a configuration so that batches are served."""
    lines = "\n  ".join(("batches: {folder: batches, concurrency: 4}", *more))
    return lambda text: text.replace("gateway:\n", f"gateway:\n  {lines}\n", 1)


def client_of(server, key="none"):
    """A client that asks once."""
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0)


def line(number, endpoint=CHAT, **body):
    """One request of a file."""
    fields = {"model": "demo", "temperature": 0, "max_tokens": 8,
              "messages": [{"role": "user", "content": f"Hello number {number}"}]}
    return {"custom_id": f"line {number}", "method": "POST", "url": endpoint, "body": body or fields}


def upload(client, lines, name="requests.jsonl"):
    """A file of these requests; texts are taken as they are."""
    text = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines)
    return client.files.create(file=(name, text.encode()), purpose="batch")


def begin(client, lines, endpoint=CHAT, **fields):
    """A batch of these requests."""
    return client.batches.create(input_file_id=upload(client, lines).id, endpoint=endpoint, completion_window="24h",
                                 **fields)


def end_of(client, batch, seconds=60):
    """The batch once it has ended."""
    deadline = time.monotonic() + seconds * PATIENCE
    while time.monotonic() < deadline:
        now = client.batches.retrieve(batch.id)
        if now.status in ENDED:
            return now
        time.sleep(0.05)
    raise TimeoutError(f"the batch is still {now.status}: {now.request_counts}")


def lines_of(client, file_id):
    """What a file of answers holds, by custom_id."""
    answers = [json.loads(one) for one in client.files.content(file_id).text.splitlines()]
    by_id = {one["custom_id"]: one for one in answers}
    assert len(by_id) == len(answers), "an answer came twice"
    return by_id


@unittest.skipIf(openai is None, "the openai client is not installed; run tests/e2e/install-clients.sh")
class Batches(unittest.TestCase):
    """One gateway that keeps files and batches."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(edit=with_batches())
        cls.client = client_of(cls.server)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def test_files_are_created_listed_read_and_deleted(self):
        text = "".join(json.dumps(line(n)) + "\n" for n in range(3000))  # many blocks
        made = self.client.files.create(file=("naïve \"name\".jsonl", text.encode()), purpose="batch")
        self.assertEqual((made.object, made.bytes, made.purpose, made.status),
                         ("file", len(text.encode()), "batch", "processed"))
        self.assertEqual(self.client.files.retrieve(made.id), made)
        self.assertEqual(self.client.files.content(made.id).content, text.encode())
        others = [upload(self.client, [line(n)]) for n in range(3)]
        listed = [f.id for f in self.client.files.list(limit=2, order="asc")]  # follows the pages
        self.assertEqual(len(listed), len(set(listed)))
        self.assertTrue({made.id, *(f.id for f in others)} <= set(listed))
        self.assertEqual([f.id for f in self.client.files.list(limit=2)], listed[::-1])
        self.assertEqual(list(self.client.files.list(purpose="vision")), [])
        gone = self.client.files.delete(made.id)
        self.assertEqual((gone.id, gone.deleted, gone.object), (made.id, True, "file"))
        for call in (self.client.files.retrieve, self.client.files.content, self.client.files.delete):
            with self.assertRaises(openai.NotFoundError) as caught:
                call(made.id)
            if not openai_schema.absent():
                openai_schema.check("ErrorResponse", {"error": caught.exception.body})

    def test_what_is_no_file_for_a_batch_is_refused_by_name(self):
        for fields, word in (({"purpose": "vision"}, "purpose"), ({"purpose": "fine-tune"}, "purpose"),
                             ({"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 5}},
                              "expires_after[seconds]")):
            with self.subTest(fields=fields), self.assertRaises(openai.BadRequestError) as caught:
                self.client.files.create(file=("a.jsonl", b"{}"), **fields)
            self.assertEqual(caught.exception.body["param"], word)
        kept = self.client.files.create(file=("a.jsonl", io.BytesIO(b"{}")), purpose="batch",
                                        expires_after={"anchor": "created_at", "seconds": 3600})
        self.assertEqual(kept.expires_at, kept.created_at + 3600)
        self.assertEqual(self.server.request("POST", "/v1/files", {"purpose": "batch"})[0], 415)
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        for body in (b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n{}\r\n--x--\r\n",
                     b"--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x--\r\n"):
            self.assertEqual(self.server.request("POST", "/v1/files", body, headers)[0], 400, body)

    def test_answers_are_those_of_asking_one_by_one(self):
        asked = [line(n) for n in range(12)]
        batch = begin(self.client, asked, metadata={"topic": "greeting"})
        self.assertEqual((batch.object, batch.status, batch.endpoint), ("batch", "validating", CHAT))
        self.assertEqual(batch.expires_at, batch.created_at + 86400)
        done = end_of(self.client, batch)
        self.assertEqual((done.status, done.errors, done.error_file_id), ("completed", None, None))
        self.assertEqual(done.request_counts.to_dict(), {"total": 12, "completed": 12, "failed": 0})
        self.assertEqual(done.metadata, {"topic": "greeting"})
        for at in (done.in_progress_at, done.finalizing_at, done.completed_at):
            self.assertGreaterEqual(at, done.created_at)
        file = self.client.files.retrieve(done.output_file_id)
        self.assertEqual((file.purpose, file.filename), ("batch_output", f"{batch.id}_output.jsonl"))
        answers = lines_of(self.client, done.output_file_id)
        self.assertEqual(set(answers), {one["custom_id"] for one in asked})
        for one in asked:
            got = answers[one["custom_id"]]
            self.assertEqual((got["error"], got["response"]["status_code"]), (None, 200))
            self.assertTrue(got["id"].startswith("batch_req_") and got["response"]["request_id"])
            direct = self.client.chat.completions.create(**one["body"])
            self.assertEqual(got["response"]["body"]["choices"][0]["message"]["content"],
                             direct.choices[0].message.content)
            self.assertEqual(got["response"]["body"]["usage"]["total_tokens"], direct.usage.total_tokens)

    def test_every_endpoint_is_served(self):
        bodies = {
            "/v1/completions": {"model": "demo", "prompt": "Hello", "max_tokens": 4},
            "/v1/responses": {"model": "demo", "input": "Hello", "max_output_tokens": 16},
            "/v1/embeddings": {"model": "demo", "input": "Hello"},
            CHAT: {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}}
        kinds = {"/v1/completions": "text_completion", "/v1/responses": "response", "/v1/embeddings": "list",
                 CHAT: "chat.completion"}
        for endpoint, body in bodies.items():
            with self.subTest(endpoint=endpoint):
                direct, _, data = self.server.request("POST", endpoint, body)
                done = end_of(self.client, begin(self.client, [line(0, endpoint, **body)], endpoint))
                got = lines_of(self.client, done.output_file_id or done.error_file_id)["line 0"]["response"]
                self.assertEqual(got["status_code"], direct)
                if direct == 200:
                    self.assertEqual(got["body"]["object"], kinds[endpoint])
                else:
                    self.assertEqual(got["body"]["error"]["code"], json.loads(data)["error"]["code"])

    def test_refused_lines_are_in_the_error_file(self):
        ask = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
        done = end_of(self.client, begin(self.client, [
            line(0), line(1, **{**ask, "model": "no-such-model"}), line(2, **{**ask, "temperature": 99}),
            line(3, **{**ask, "stream": True})]))
        self.assertEqual(done.status, "completed")
        self.assertEqual(done.request_counts.to_dict(), {"total": 4, "completed": 1, "failed": 3})
        self.assertEqual(set(lines_of(self.client, done.output_file_id)), {"line 0"})
        errors = lines_of(self.client, done.error_file_id)
        seen = {k: (v["response"]["status_code"], v["response"]["body"]["error"]["param"]) for k, v in errors.items()}
        self.assertEqual(seen, {"line 1": (404, None), "line 2": (400, "temperature"), "line 3": (400, "stream")})
        only_bad = end_of(self.client, begin(self.client, [line(1, **{**ask, "model": "no-such-model"})]))
        self.assertIsNone(only_bad.output_file_id)
        self.assertTrue(only_bad.error_file_id)

    def test_files_that_are_no_batch_fail_with_the_lines_named(self):
        good = line(0)
        for lines, expected in (
                ([], [("empty_file", None)]), (["", "  "], [("empty_file", None)]),
                ([good, "{", "[]"], [("invalid_json_line", 2), ("invalid_json_line", 3)]),
                ([good, {**good, "custom_id": "x", "method": "GET"}], [("invalid_method", 2)]),
                ([good, "", {**good, "custom_id": "x", "url": "/v1/embeddings"}], [("url_mismatch", 3)]),
                ([good, line(1), good], [("duplicate_custom_id", 3)]),
                ([{k: v for k, v in good.items() if k != "body"}], [("missing_required_parameter", 1)]),
                ([{k: v for k, v in good.items() if k != "custom_id"}], [("missing_required_parameter", 1)])):
            with self.subTest(expected=expected):
                done = end_of(self.client, begin(self.client, lines))
                self.assertEqual((done.status, done.output_file_id, done.error_file_id), ("failed", None, None))
                self.assertTrue(done.failed_at)
                self.assertEqual([(e.code, e.line) for e in done.errors.data], expected)

    def test_what_is_no_batch_is_refused(self):
        file = upload(self.client, [line(0)]).id
        good = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
        for fields, status, param in (({"endpoint": "/v1/moderations"}, 400, "endpoint"),
                                      ({"completion_window": "1h"}, 400, "completion_window"),
                                      ({"input_file_id": "file-none"}, 404, "input_file_id"),
                                      ({"metadata": {"a": 1}}, 400, "metadata")):
            with self.subTest(fields=fields), self.assertRaises(openai.APIStatusError) as caught:
                self.client.batches.create(**{**good, **fields})
            self.assertEqual((caught.exception.status_code, caught.exception.body["param"]), (status, param))
        for call in (self.client.batches.retrieve, self.client.batches.cancel):
            with self.assertRaises(openai.NotFoundError):
                call("batch_none")
        done = end_of(self.client, self.client.batches.create(**good))
        with self.assertRaises(openai.ConflictError):
            self.client.batches.cancel(done.id)
        with self.assertRaises(openai.BadRequestError):  # its answers are no input
            self.client.batches.create(**{**good, "input_file_id": done.output_file_id})

    def test_batches_are_listed_in_pages_the_latest_first(self):
        made = [begin(self.client, [line(0)]).id for _ in range(3)]
        listed = [b.id for b in self.client.batches.list(limit=2)]
        self.assertEqual(len(listed), len(set(listed)))
        self.assertTrue(set(made) <= set(listed))
        times = [b.created_at for b in self.client.batches.list(limit=100)]
        self.assertEqual(times, sorted(times, reverse=True))

    def test_a_batch_is_cancelled_and_keeps_what_it_has(self):
        ask = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 200,
               "ignore_eos": True}
        batch = begin(self.client, [line(n, **ask) for n in range(400)])
        wait_for(lambda: self.client.batches.retrieve(batch.id).request_counts.completed, 30, "a first answer")
        self.assertEqual(self.client.batches.cancel(batch.id).status, "cancelling")
        done = end_of(self.client, batch)
        self.assertEqual(done.status, "cancelled")
        self.assertTrue(done.cancelling_at and done.cancelled_at)
        self.assertLess(done.request_counts.completed, 400)
        self.assertEqual(len(lines_of(self.client, done.output_file_id)), done.request_counts.completed)

    def test_others_are_answered_beside_a_batch(self):
        ask = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100,
               "ignore_eos": True}
        batch = begin(self.client, [line(n, **ask) for n in range(200)])
        wait_for(lambda: self.client.batches.retrieve(batch.id).status == "in_progress", 30, "its beginning")
        for n in range(10):
            self.assertTrue(self.client.chat.completions.create(**line(n)["body"]).choices[0].message.content)
        self.assertNotIn(self.client.batches.retrieve(batch.id).status, ENDED)
        self.client.batches.cancel(batch.id)
        end_of(self.client, batch)


@unittest.skipIf(openai is None, "the openai client is not installed; run tests/e2e/install-clients.sh")
class Alone(unittest.TestCase):
    """Gateways of their own."""

    def test_a_restart_in_the_middle_asks_no_line_twice(self):
        server = Server(edit=with_batches())
        try:
            with client_of(server) as client:
                ask = {"model": "demo", "temperature": 0, "max_tokens": 60, "ignore_eos": True}
                asked = [line(n, **ask, messages=[{"role": "user", "content": f"Say {n}"}]) for n in range(40)]
                batch = begin(client, asked)
                wait_for(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 3, 60, "some answers")
                server.process.kill()  # no word before
                server.process.wait()
                output = next(p for p in (server.folder / "batches").glob("file-*.jsonl")
                              if p.read_bytes().startswith(b'{"id":"batch_req_'))
                before = output.read_bytes()
                output.write_bytes(before + b'{"id":"batch_req_half","custom_id":"line 39","resp')  # a torn line
                server.start()
                done = end_of(client, batch, 120)
                self.assertEqual(done.request_counts.to_dict(), {"total": 40, "completed": 40, "failed": 0})
                data = client.files.content(done.output_file_id).content
                self.assertTrue(data.startswith(before))
                self.assertEqual(set(lines_of(client, done.output_file_id)), {one["custom_id"] for one in asked})
                server.restart()
                self.assertEqual(client.batches.retrieve(batch.id), done)
                self.assertEqual(client.files.content(done.output_file_id).content, data)
        finally:
            server.stop()

    def test_what_is_not_answered_in_its_window_expires(self):
        server = Server(edit=with_batches())
        try:
            with client_of(server) as client:
                ask = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100,
                       "ignore_eos": True}
                batch = begin(client, [line(n, **ask) for n in range(100)])
                wait_for(lambda: client.batches.retrieve(batch.id).request_counts.completed, 60, "a first answer")
                server.process.kill()
                server.process.wait()
                record = server.folder / "batches" / f"{batch.id}.json"
                record.write_text(record.read_text().replace(f'"expires_at":{batch.expires_at}', '"expires_at":7'))
                server.start()
                done = end_of(client, batch)
                self.assertEqual((done.status, done.expires_at), ("expired", 7))
                self.assertTrue(done.expired_at and done.finalizing_at)
                counts = done.request_counts
                self.assertEqual(counts.completed + counts.failed, 100)
                late = lines_of(client, done.error_file_id)
                self.assertEqual({(v["response"], v["error"]["code"]) for v in late.values()}, {(None, "batch_expired")})
                self.assertEqual(len(late) + len(lines_of(client, done.output_file_id)), 100)
        finally:
            server.stop()

    def test_tenants_see_only_their_own(self):
        server = Server(edit=with_batches("auth: {keys_env: ROOTSTOCK_E2E_KEYS}"), env=KEYS)
        try:
            with client_of(server, "key-of-acme") as acme, client_of(server, "key-of-globex") as globex:
                done = end_of(acme, begin(acme, [line(0)]))
                for file in (done.input_file_id, done.output_file_id):
                    for call in (globex.files.retrieve, globex.files.content, globex.files.delete):
                        with self.assertRaises(openai.NotFoundError):
                            call(file)
                    self.assertTrue(acme.files.content(file).content)
                for call in (globex.batches.retrieve, globex.batches.cancel):
                    with self.assertRaises(openai.NotFoundError):
                        call(done.id)
                with self.assertRaises(openai.NotFoundError):
                    globex.batches.create(input_file_id=done.input_file_id, endpoint=CHAT, completion_window="24h")
                self.assertEqual((list(globex.files.list()), list(globex.batches.list())), ([], []))
                self.assertEqual(len(list(acme.files.list())), 2)
                private = end_of(acme, begin(acme, [line(0, model="acme/none", messages=[])]))
                self.assertEqual(private.request_counts.failed, 1)
        finally:
            server.stop()

    def test_without_a_folder_they_are_not_served_and_say_so(self):
        server = Server()
        try:
            for path in ("/v1/files", "/v1/batches", "/v1/files/file-a/content"):
                status, _, data = server.get(path)
                self.assertEqual(status, 501)
                self.assertIn("gateway.batches.folder", json.loads(data)["error"]["message"])
        finally:
            server.stop()

    def test_more_than_may_be_kept_is_refused(self):
        small = with_batches()
        server = Server(edit=lambda text: small(text).replace("concurrency: 4", "max_bytes: 1MiB"))
        try:
            with client_of(server) as client:
                kept = client.files.create(file=("a", b" " * 700000), purpose="batch")
                with self.assertRaises(openai.APIStatusError) as caught:
                    client.files.create(file=("b", b" " * 700000), purpose="batch")
                self.assertEqual(caught.exception.status_code, 413)
                client.files.delete(kept.id)
                client.files.create(file=("b", b" " * 700000), purpose="batch")
                self.assertEqual(len(list((server.folder / "batches").glob("*.jsonl"))), 1)
        finally:
            server.stop()


if __name__ == "__main__":
    tap.main()
