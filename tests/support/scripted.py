"""An upstream in the test's own process that answers what the test says: bodies that no engine would write on demand."""
import http.server
import json
import threading


class Scripted:
    """`reply`: (status, headers, body), or a function of (path, request) that returns one; a body is bytes or JSON.
    `seen` holds (path, request) of all requests, oldest first."""

    def __init__(self):
        self.reply, self.seen = (404, {}, {}), []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """One connection."""
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):  # pylint: disable=arguments-differ
                """Says nothing."""

            def do_POST(self):  # pylint: disable=invalid-name
                """Answers as `reply` says."""
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.seen.append((self.path, request))
                status, headers, body = outer.reply(self.path, request) if callable(outer.reply) else outer.reply
                if not isinstance(body, bytes):
                    body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
                self.send_response(status)
                for name, value in {**headers, "Content-Length": len(body)}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self):
        """Ends it."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def sse(*events, named=False):
    """A stream of these: JSON, or text as it is. named: with the line that names an event by its type."""
    lines = [(f"event: {e['type']}\n" if named else "") + f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n"
             for e in events]
    return 200, {"Content-Type": "text/event-stream"}, "".join(lines).encode()


def openai_whole(message, finish="stop", **more):
    """An answer of OpenAI's with this message, and nothing that it may do without."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **more}
    return 200, {}, {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "there", "choices": [choice],
                     "usage": USAGE}


def openai_stream(*deltas, finish="stop"):
    """The same in pieces."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "there"}
    said = [{**head, "choices": [{"index": 0, "delta": d, "finish_reason": f}]}
            for d, f in (({"role": "assistant", "content": ""}, None), *((d, None) for d in deltas), ({}, finish))]
    return sse(*said, {**head, "choices": [], "usage": USAGE}, "[DONE]")


def anthropic_whole(*blocks, stop="end_turn"):
    """An answer of Anthropic's with these blocks."""
    return 200, {}, {"id": "msg_1", "type": "message", "role": "assistant", "model": "there", "content": list(blocks),
                     "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 3}}


def anthropic_stream(block, *deltas, stop="end_turn"):
    """The same in pieces: one block."""
    begun = anthropic_whole(stop=None)[2]
    said = [{"type": "content_block_delta", "index": 0, "delta": d} for d in deltas]
    return sse({"type": "message_start", "message": begun}, {"type": "content_block_start", "index": 0,
                                                             "content_block": block}, *said,
               {"type": "content_block_stop", "index": 0},
               {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None},
                "usage": {"output_tokens": 3}}, {"type": "message_stop"}, named=True)
