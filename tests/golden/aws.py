#!/usr/bin/env python3
"""Signatures of calls by botocore, and event stream frames of an encoder of their own.

    aws.py signatures > aws_sigv4.json
    aws.py frames > aws_event_stream.json

Needs botocore (PyPI). The frames are read back with botocore before they are written.
"""
import hashlib
import json
import random
import struct
import sys
import uuid
import zlib

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer

HOST = "bedrock-runtime.%s.amazonaws.com"
PATHS = [
    "/model/anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse",
    "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-pro-v1%3A0"
    "/converse-stream",
    "/model/amazon.titan-embed-text-v2%3A0/invoke",
    "/",
    "",
    "/a//b/./c/../d",
    "/a/b/",
    "/proxy/model/x~y_z.1-2/converse",
    "/model/with%20blank%2Bplus/invoke-with-response-stream",
]
QUERIES = ["", "a=1&b=2"]
BODIES = ["", "{}", '{"messages":[{"role":"user","content":[{"text":"Grüße 👋"}]}]}', "x" * 5000]
TOKEN = "IQoJb3JpZ2luX2VjE" + "AbC+/" * 120 + "=="
KEYS = [("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""), ("ASIAEXAMPLE", "s3cr3t/with+signs=", TOKEN)]
TIMES = [("20260228T235959Z", 1772323199), ("20261121T000000Z", 1795219200)]


def sign(row):
    """The authorization that botocore gives a call."""
    url = f"https://{row['host']}{row['path']}" + (f"?{row['query']}" if row["query"] else "")
    headers = {"host": row["host"], **row["headers"]}
    headers["x-amz-content-sha256"] = hashlib.sha256(row["body"].encode()).hexdigest()
    request = AWSRequest(method=row["method"], url=url, data=row["body"].encode(), headers=headers)
    request.context["timestamp"] = row["date"]
    keys = Credentials(row["key_id"], row["secret"], row["session_token"] or None)
    signer = SigV4Auth(keys, row["service"], row["region"])
    signer._modify_request_before_signing(request)
    canonical = signer.canonical_request(request)
    to_sign = signer.string_to_sign(request, canonical)
    signer._inject_signature_to_request(request, signer.signature(to_sign, request))
    return request.headers["Authorization"]


def signatures():
    """One row a path, the rest taken in turn."""
    rows = []
    for i, path in enumerate(PATHS * 2):
        key_id, secret, token = KEYS[i % 2]
        date, now = TIMES[i // 2 % 2]
        region = ["us-east-1", "eu-central-1", "ap-southeast-2"][i % 3]
        row = {
            "method": "POST" if i % 5 else "GET", "host": HOST % region if i % 4 else "localhost:4566", "path": path,
            "query": QUERIES[i // 3 % 2], "body": BODIES[i % 4], "region": region,
            "service": "bedrock" if i % 7 else "sts", "key_id": key_id, "secret": secret, "session_token": token,
            "date": date, "now": now,
            "headers": [{}, {"content-type": "application/json"},
                        {"x-amzn-bedrock-trace": "  ENABLED   twice ", "accept": "application/json"}][i % 3],
        }
        row["authorization"] = sign(row)
        rows.append(row)
    return rows


VALUES = {  # type → a value's bytes
    0: lambda r: b"", 1: lambda r: b"", 2: lambda r: r.randbytes(1), 3: lambda r: r.randbytes(2),
    4: lambda r: r.randbytes(4), 5: lambda r: r.randbytes(8),
    6: lambda r: sized(r.randbytes(r.randrange(1, 40))), 7: lambda r: sized(b"text of a header"),
    8: lambda r: struct.pack(">q", r.randrange(0, 2**40)), 9: lambda r: uuid.UUID(int=r.getrandbits(128)).bytes,
}


def sized(raw):
    """Bytes behind their length."""
    return struct.pack(">H", len(raw)) + raw


def frame(headers, payload):
    """A frame of (name, type, value's bytes) and a payload."""
    head = b"".join(bytes([len(name)]) + name.encode() + bytes([kind]) + value for name, kind, value in headers)
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return body + struct.pack(">I", zlib.crc32(body))


def text(name, value):
    """A header that is a string."""
    return (name, 7, sized(value.encode()))


def broken(raw):
    """Name → a damaged frame, and what a reader must make of it."""
    def put(at, value):
        return raw[:at] + value + raw[at + len(value):]

    def relabel(all_bytes, head_bytes):
        prelude = struct.pack(">II", all_bytes, head_bytes)
        return prelude + struct.pack(">I", zlib.crc32(prelude)) + raw[12:]

    def reseal(body):
        return body + struct.pack(">I", zlib.crc32(body))
    return [
        ("payload bit", put(len(raw) - 6, bytes([raw[-6] ^ 1])), "bad"),
        ("header bit", put(14, bytes([raw[14] ^ 0x20])), "bad"),
        ("prelude bit", put(3, bytes([raw[3] ^ 1])), "bad"),
        ("prelude sum", put(8, bytes([raw[8] ^ 0x80])), "bad"),
        ("message sum", put(len(raw) - 1, bytes([raw[-1] ^ 1])), "bad"),
        ("length below the least", relabel(15, 0), "bad"),
        ("headers longer than the frame", relabel(len(raw), len(raw)), "bad"),
        ("a frame of 4 GiB", relabel(0xFFFFFFFF, 20), "large"),
        ("headers of 1 MiB", relabel(0x00200000, 0x00100000), "bad"),
        ("unknown header type", reseal(put(12 + 1 + len(":message-type"), b"\x0b")[:-4]), "bad"),
        ("header value past its end", reseal(put(12 + 2 + len(":message-type"), b"\xff\xff")[:-4]), "bad"),
        ("header name past its end", reseal(put(12, b"\xff")[:-4]), "bad"),
        ("cut in the prelude", raw[:7], "open"),
        ("cut in the headers", raw[:20], "open"),
        ("cut before the last byte", raw[:-1], "open"),
    ]


def frames():
    """Whole frames with what is in them, then damaged ones."""
    rng = random.Random(20261121)
    whole = []
    for i in range(24):
        kind = ["event", "event", "exception", "error"][i % 4]
        row = {"message_type": kind, "event_type": "", "failure": "", "error_message": ""}
        headers = [text(":message-type", kind)]
        if kind == "event":
            row["event_type"] = ["messageStart", "contentBlockDelta", "metadata"][i % 3]
            headers.append(text(":event-type", row["event_type"]))
        else:
            row["failure"] = "throttlingException" if kind == "exception" else "InternalError"
            headers.append(text(":exception-type" if kind == "exception" else ":error-code", row["failure"]))
        if kind == "error":
            row["error_message"] = "Größe überschritten"
            headers.append(text(":error-message", row["error_message"]))
        headers.append(text(":content-type", "application/json"))
        headers += [(f"x-{t}", t, VALUES[t](rng)) for t in rng.sample(range(10), i % 11 if i % 11 <= 10 else 0)]
        rng.shuffle(headers)
        payloads = [b"", b"{}", rng.randbytes(rng.randrange(1, 300)), b'{"delta":{"text":"Hi"},"p":"abcdef"}']
        payload = payloads[i // 4 % 4]
        raw = frame(headers, payload)
        reader = EventStreamBuffer()
        reader.add_data(raw)
        message, = list(reader)
        assert message.payload == payload and message.headers[":message-type"] == kind
        row.update(payload=payload.hex(), frame=raw.hex())
        whole.append(row)
    base = frame([text(":message-type", "event"), text(":event-type", "metadata")], b'{"usage":{"inputTokens":1}}')
    bad = [{"name": n, "frame": raw.hex(), "outcome": outcome} for n, raw, outcome in broken(base)]
    return {"whole": whole, "broken": bad}


def main():
    what = {"signatures": signatures, "frames": frames}[sys.argv[1]]
    json.dump(what(), sys.stdout, indent=0, ensure_ascii=False)
    print()


main()
