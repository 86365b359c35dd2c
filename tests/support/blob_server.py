#!/usr/bin/env python3
"""Stores for the tests of adapters/blobs, in one server: a web server, S3 and an OCI registry.

usage: blob_server.py        prints its port, serves until its input ends

It checks what a client must do by the published rules and not by ours: AWS Signature Version 4 of every S3 request
(S3 API reference, "Authenticating Requests"), Range and If-Range (RFC 9110), the OCI distribution specification 1.1
with its bearer tokens. Objects live in memory, by key.

    /http/KEY               GET, HEAD                 an object of the bucket "blobs"
    /private/KEY            the same with "Authorization: Bearer sesame"
    /BUCKET/KEY             S3, path style; bucket "session" wants the session token too
    /v2/NAME/...            OCI; bearer tokens of /token, for user "me", password "pass:word"
    /_put/KEY               PUT without any check, for what no client would store

Anywhere in a path or key a segment of "fault=…" spoils the answers, and is no part of the key:

    fault=KIND,n=TIMES,at=BYTES     KIND: cut stall wrong longer shorter status500 slowdown busy norange changed redirect
                                    loop garbage slow empty204 noheaders; counted by method; TIMES 0: always
"""
import base64
import email.utils
import hashlib
import hmac
import http.server
import json
import re
import sys
import threading
import time
import urllib.parse
import xml.sax.saxutils

ACCESS, SECRET, SESSION, REGION = "AKTEST", "the/secret+key", "session/token==", "eu-test-1"
objects, written, counts, lock = {}, {}, {}, threading.Lock()
uploads, manifests, tokens = {}, {}, {}
EMPTY = hashlib.sha256(b"").hexdigest()


def quote(text):
    return urllib.parse.quote(text, safe="-._~")


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Refused(Exception):
    """An S3 error: status, code, message."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fault = None

    def log_message(self, *args):
        pass

    def version_string(self):
        return "blob_server"

    # ---- AWS Signature Version 4 ----

    def check_signature(self, body, session):
        auth = self.headers.get("Authorization", "")
        m = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})", auth)
        if not m:
            raise Refused(403, "AccessDenied", "no signature of version 4")
        who = m.group(1).split("/")
        if len(who) != 5 or who[3:] != ["s3", "aws4_request"]:
            raise Refused(400, "AuthorizationHeaderMalformed", "credential scope")
        if who[0] != ACCESS:
            raise Refused(403, "InvalidAccessKeyId", "no such key")
        if who[2] != REGION:
            raise Refused(400, "AuthorizationHeaderMalformed", f"the region is wrong; expecting '{REGION}'")
        date = self.headers.get("x-amz-date", "")
        sent = time.mktime(time.strptime(date, "%Y%m%dT%H%M%SZ")) - time.timezone
        if abs(sent - time.time()) > 900 or not date.startswith(who[1]):
            raise Refused(403, "RequestTimeTooSkewed", "clock")
        signed = m.group(2).split(";")
        present = sorted({k.lower() for k in self.headers.keys() if k.lower().startswith("x-amz-")} | {"host"})
        if signed != sorted(signed) or not set(present) <= set(signed):
            raise Refused(403, "AccessDenied", "There were headers present in the request which were not signed")
        payload = self.headers.get("x-amz-content-sha256")
        if payload is None:
            raise Refused(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
        path, _, query = self.path.partition("?")
        path = "/".join(quote(urllib.parse.unquote(part)) for part in path.split("/"))
        pairs = sorted((quote(k), quote(v)) for k, v in urllib.parse.parse_qsl(query, keep_blank_values=True))
        headers = "".join(f"{k}:{' '.join(self.headers.get(k, '').split())}\n" for k in signed)
        canonical = "\n".join([self.command, path, "&".join(f"{k}={v}" for k, v in pairs), headers, m.group(2), payload])
        scope = "/".join(who[1:])
        text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + SECRET).encode()
        for part in who[1:]:
            key = sign(key, part)
        if not hmac.compare_digest(sign(key, text).hex(), m.group(3)):
            raise Refused(403, "SignatureDoesNotMatch", "The request signature we calculated does not match")
        if session and self.headers.get("x-amz-security-token") != SESSION:
            raise Refused(403, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        if payload != "UNSIGNED-PAYLOAD" and payload != hashlib.sha256(body).hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch", "x-amz-content-sha256 does not match the body")

    # ---- answering ----

    def send(self, status, body=b"", headers=(), length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def xml_error(self, status, code, message, headers=()):
        text = xml.sax.saxutils.escape(message)
        self.send(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message>"
                  f"<AWSAccessKeyId>{ACCESS}</AWSAccessKeyId></Error>".encode(), headers)

    def drop(self):
        self.close_connection = True
        try:
            self.connection.shutdown(2)
        except OSError:
            pass

    def armed(self, *kinds):
        """The fault of this request when it is one of these kinds and has its turn."""
        if not self.fault or self.fault.get("fault") not in kinds:
            return None
        with lock:
            key = (self.fault["text"], self.command, self.kind_of_path)
            counts[key] = counts.get(key, 0) + 1
            times = int(self.fault.get("n", "1"))
            return self.fault if times == 0 or counts[key] <= times else None

    def spoiled(self):
        """Answers at once with a fault that needs no object."""
        if self.armed("status500"):
            self.send(500, b"oops")
        elif self.armed("slowdown"):
            self.xml_error(503, "SlowDown", "Please reduce your request rate.", [("Retry-After", "1")])
        elif self.armed("busy"):
            self.send(429, b"", [("Retry-After", "1")])
        elif self.armed("garbage"):
            self.wfile.write(b"\x00\x01 this is no HTTP \xff\r\n\r\n")
            self.drop()
        elif self.armed("empty204"):
            self.send_response(204)
            self.end_headers()
        elif self.armed("redirect"):
            self.send(302, b"", [("Location", re.sub(r"/fault=[^/]*", "", urllib.parse.unquote(self.path)))])
        elif self.armed("loop"):
            self.send(302, b"", [("Location", self.path)])
        else:
            return False
        return True

    def send_object(self, data, when):
        if self.armed("wrong"):
            data = data[:-1] + bytes([data[-1] ^ 1])
        if self.armed("longer"):
            data = data + b"more"
        if self.armed("shorter"):
            data = data[:-4]
        etag = '"' + hashlib.md5(data).hexdigest() + '"'
        headers = [("Last-Modified", email.utils.formatdate(when, usegmt=True))]
        if self.fault and self.fault.get("fault") == "changed":  # another version at each answer
            with lock:
                counts["version"] = counts.get("version", 0) + 1
                etag = f'"v{counts["version"]}"'
        headers += [("ETag", etag), ("Accept-Ranges", "bytes")]
        status, begin = 200, 0
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", etag) == etag
        if wanted and same and not (self.fault and self.fault.get("fault") == "norange") and self.command == "GET":
            begin = int(wanted.group(1))
            end = min(int(wanted.group(2) or len(data) - 1), len(data) - 1)
            if begin > end:
                self.send(416, b"", [("Content-Range", f"bytes */{len(data)}")])
                return
            headers.append(("Content-Range", f"bytes {begin}-{end}/{len(data)}"))
            status, data = 206, data[begin:end + 1]
        self.send_body(status, data, headers)

    def send_body(self, status, data, headers):
        cut = self.armed("cut", "norange", "changed") if self.command == "GET" else None
        stall = self.armed("stall") if self.command == "GET" else None
        slow = self.armed("slow") if self.command == "GET" else None
        noheaders = self.armed("noheaders")
        self.send_response(status)
        for name, value in headers:
            if not noheaders:
                self.send_header(name, value)
        if noheaders:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut and int(cut.get("at", "1")) < len(data):
            self.wfile.write(data[:int(cut.get("at", "1"))])
            self.drop()
        elif stall:
            self.wfile.write(data[:int(stall.get("at", "1"))])
            self.wfile.flush()
            time.sleep(30)
            self.drop()
        elif slow:
            for i in range(0, len(data), 65536):
                self.wfile.write(data[i:i + 65536])
                time.sleep(0.01)
        else:
            self.wfile.write(data)

    # ---- S3 ----

    def s3(self, bucket, key, query, body):
        try:
            if bucket not in ("blobs", "session"):
                raise Refused(404, "NoSuchBucket", "The specified bucket does not exist")
            self.check_signature(body, session=bucket == "session")
        except Refused as e:
            self.xml_error(*e.args)
            return
        if self.spoiled():
            return
        if self.command == "PUT" and key:
            with lock:
                objects[key], written[key] = body, time.time()
            self.send(200, b"", [("ETag", '"' + hashlib.md5(body).hexdigest() + '"')])
        elif self.command == "DELETE" and key:
            with lock:
                objects.pop(key, None)
            self.send_response(204)
            self.end_headers()
        elif self.command in ("GET", "HEAD") and key:
            if key in objects:
                self.send_object(objects[key], written[key])
            else:
                self.xml_error(404, "NoSuchKey", "The specified key does not exist.")
        elif self.command == "GET" and query.get("list-type") == "2":
            self.list(query)
        else:
            self.xml_error(405, "MethodNotAllowed", "no")

    def list(self, query):
        prefix, token = query.get("prefix", ""), query.get("continuation-token", "")
        most = min(int(query.get("max-keys", "1000")), 1000)
        after = base64.b64decode(token).decode() if token else ""
        keys = sorted(k for k in objects if k.startswith(prefix) and k > after)
        most = min(most, 3) if "few" in prefix else most
        out = "".join(
            f"<Contents><Key>{xml.sax.saxutils.escape(k)}</Key><LastModified>"
            f"{time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(written[k]))}</LastModified>"
            f"<ETag>&quot;x&quot;</ETag><Size>{len(objects[k])}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for k in keys[:most])
        more = len(keys) > most
        next_token = base64.b64encode(keys[most - 1].encode()).decode() if more else ""
        text = (f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>b</Name><Prefix>{xml.sax.saxutils.escape(prefix)}</Prefix><KeyCount>{len(keys[:most])}</KeyCount>"
                f"<MaxKeys>{most}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{out}"
                + (f"<NextContinuationToken>{next_token}</NextContinuationToken>" if more else "")
                + "</ListBucketResult>")
        self.send(200, text.encode(), [("Content-Type", "application/xml")])

    # ---- OCI distribution ----

    def oci(self, rest, query, body):
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or tokens.get(value, 0) < time.time():
            host = self.headers["Host"]
            self.send(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"no token"}]}',
                      [("WWW-Authenticate", f'Bearer realm="http://{host}/token",service="test registry",'
                        f'scope="repository:team/adapters:pull,push"')])
            return
        if self.spoiled():
            return
        m = re.fullmatch(r"(.+?)/(blobs|manifests)/(.+?)/?", rest)
        if not m:
            self.send(404)
            return
        name, what, which = m.groups()
        if what == "manifests":
            self.oci_manifest(name, which, body)
        elif which.startswith("uploads"):
            self.oci_upload(name, which, query, body)
        elif (name, which) in uploads and self.command in ("GET", "HEAD"):
            self.send_object(uploads[name, which], time.time())
        else:
            self.send(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}')

    def oci_upload(self, name, which, query, body):
        if self.command == "POST":
            self.send(202, b"", [("Location", f"/v2/{name}/blobs/uploads/1234?state=a%2Bb")])
            return
        if query.get("state") != "a+b" or which != "uploads/1234":
            self.send(400, b'{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"state"}]}')
            return
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        if query.get("digest") != digest:
            self.send(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"digest"}]}')
            return
        uploads[name, digest] = body
        self.send(201, b"", [("Location", f"/v2/{name}/blobs/{digest}")])

    def oci_manifest(self, name, which, body):
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        if self.command == "PUT":
            doc = json.loads(body)
            known = all((name, d["digest"]) in uploads and len(uploads[name, d["digest"]]) == d["size"]
                        for d in [doc["config"]] + doc["layers"])
            if not known or doc.get("schemaVersion") != 2:
                self.send(400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}')
                return
            manifests[name, which] = body
            self.send(201, b"", [("Location", f"/v2/{name}/manifests/{digest}")])
        elif (name, which) in manifests:
            self.send(200, manifests[name, which], [("Content-Type", "application/vnd.oci.image.manifest.v1+json")])
        else:
            self.send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')

    def token(self, query):
        want = "Basic " + base64.b64encode(b"me:pass:word").decode()
        if self.headers.get("Authorization") != want:
            self.send(401, b'{"details":"incorrect username or password"}')
        elif query.get("service") != "test registry" or "team/adapters" not in query.get("scope", ""):
            self.send(400)
        else:
            token = hashlib.sha256(str(time.time()).encode()).hexdigest()
            tokens[token] = time.time() + 60
            self.send(200, json.dumps({"token": token, "expires_in": 60}).encode())

    # ---- routing ----

    def handle_one(self):
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length) if length else b""
        path, _, query = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        parts = urllib.parse.unquote(path).lstrip("/").split("/")
        self.fault = None
        in_prefix = [p for p in query.get("prefix", "").split("/") if p.startswith("fault=")]
        for part in [p for p in parts if p.startswith("fault=")] + in_prefix:
            self.fault = dict(item.partition("=")[::2] for item in part.split(","))
            self.fault["text"] = part
        parts = [p for p in parts if not p.startswith("fault=")]
        first, key = parts[0], "/".join(parts[1:])
        self.kind_of_path = first
        if first == "_put" and self.command == "PUT":
            objects[key], written[key] = body, time.time()
            self.send(200)
        elif first == "token":
            self.token(query)
        elif first == "v2":
            self.oci(key, query, body)
        elif first in ("http", "private"):
            if first == "private" and self.headers.get("Authorization") != "Bearer sesame":
                self.send(401)
            elif self.spoiled():
                pass
            elif key in objects and self.command in ("GET", "HEAD"):
                self.send_object(objects[key], written[key])
            else:
                self.send(404)
        else:
            self.s3(first, key, query, body)

    def do_GET(self):
        try:
            self.handle_one()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Clients leave as they like."""


def main():
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
