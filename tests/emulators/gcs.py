"""Google Cloud Storage over a folder: as much of its JSON API as rclone and gcsfs use."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o")
_BUCKET = re.compile(r"/storage/v1/b(?:/([^/]+))?")
_COPY = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")
_UPLOAD = re.compile(r"/(?:upload|resumable/upload)/storage/v1/b/([^/]+)/o")

Answer = tuple[int, Any, Mapping[str, str]]


class Gcs:
    """A server whose buckets are the folders in `folder`.

    Args:
        folder: Where they are.
        bind: The address that it listens at.

    Attributes:
        made: What buckets were made, as they were asked for.
        denied: Methods that are answered with 403.
        tokens: The bearer tokens that it has seen.
    """

    def __init__(self, folder: Path, bind: str = "127.0.0.1") -> None:
        self.folder = folder
        self.made: list[dict[str, Any]] = []
        self.denied: set[str] = set()
        self.tokens: set[str] = set()
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._uploads: dict[str, tuple[str, dict[str, Any], bytearray]] = {}
        self._lock = threading.Lock()
        gcs = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                with gcs._lock:
                    status, answer, headers = gcs._answer(self.command, self.path, self.headers, body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
                for name, value in {
                    "Content-Type": kind,
                    "Content-Length": str(len(data)),
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _serve

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((bind, 0), Handler)
        self.url = f"http://{bind}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.bucket("bucket-one")

    def bucket(self, name: str) -> Path:
        """Return the folder of a bucket, made if need be."""
        bucket = self.folder / name
        bucket.mkdir(parents=True, exist_ok=True)
        return bucket

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()

    # -- requests -----------------------------------------------------------------------------------

    def _answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.tokens.add(headers.get("Authorization", "").removeprefix("Bearer "))
        parts = urlsplit(url)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path
        if method in self.denied:
            text = "caller does not have storage.objects.create access to the bucket"
            return 403, {"error": {"code": 403, "message": text, "errors": [{"reason": "forbidden"}]}}, {}
        if match := _COPY.fullmatch(path):
            source, name, target, new = map(unquote, match.groups())
            return self._copy(source, name, target, new)
        if match := _UPLOAD.fullmatch(path):
            return self._upload(method, unquote(match[1]), asked, headers, body)
        if match := _OBJECT.fullmatch(path):
            return self._object(method, unquote(match[1]), unquote(match[2]), asked, headers, body)
        if match := _LIST.fullmatch(path):
            return self._list(unquote(match[1]), asked)
        if match := _BUCKET.fullmatch(path):
            return self._bucket(method, match[1] or "", body)
        return _missing(path)

    def _bucket(self, method: str, name: str, body: bytes) -> Answer:
        if method == "POST":
            wanted = json.loads(body)
            if (self.folder / wanted["name"]).exists():
                return 409, {"error": {"code": 409, "message": "it exists"}}, {}
            self.bucket(wanted["name"])
            self.made.append(wanted)
            return 200, {"kind": "storage#bucket", "location": "US", **wanted}, {}
        if not name or not (self.folder / name).is_dir():
            return _missing(name)
        return 200, {"kind": "storage#bucket", "name": name, "location": "US"}, {}

    def _list(self, bucket: str, asked: Mapping[str, str]) -> Answer:
        root = self.folder / bucket
        if not root.is_dir():
            return _missing(bucket)
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        names = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
        items, prefixes = [], dict[str, None]()
        for name in (n for n in names if n.startswith(prefix)):
            below, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if found:
                prefixes[prefix + below + delimiter] = None
            else:
                items.append(self._describe(bucket, name))
        start, most = int(asked.get("pageToken", "0")), int(asked.get("maxResults", "1000"))
        answer: dict[str, Any] = {"kind": "storage#objects", "items": items[start : start + most]}
        answer["prefixes"] = list(prefixes) if not start else []
        if len(items) > start + most:
            answer["nextPageToken"] = str(start + most)
        return 200, answer, {}

    def _object(
        self,
        method: str,
        bucket: str,
        name: str,
        asked: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        file = self.folder / bucket / name
        if not file.is_file():
            return _missing(name)
        if method == "DELETE":
            file.unlink()
            return 204, b"", {}
        if method in ("PATCH", "PUT"):
            self._known.setdefault((bucket, name), {}).update(json.loads(body))
        if asked.get("alt") == "media":
            return _part(file.read_bytes(), headers.get("Range", ""))
        return 200, self._describe(bucket, name), {}

    def _copy(self, source: str, name: str, target: str, new: str) -> Answer:
        if not (self.folder / source / name).is_file():
            return _missing(name)
        data = (self.folder / source / name).read_bytes()
        resource = self._put(target, new, data, dict(self._known.get((source, name), {})))
        size = str(len(data))
        return 200, {"done": True, "resource": resource, "totalBytesRewritten": size, "objectSize": size}, {}

    def _upload(
        self, method: str, bucket: str, asked: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Answer:
        if "upload_id" in asked:
            return self._go_on(bucket, asked["upload_id"], headers, body)
        kind = asked.get("uploadType", "media")
        if kind == "resumable":
            wanted = json.loads(body or b"{}")
            number = uuid.uuid4().hex
            self._uploads[number] = (asked.get("name") or wanted["name"], wanted, bytearray())
            where = (
                f"{self.url}/upload/storage/v1/b/{quote(bucket)}/o?uploadType=resumable&upload_id={number}"
            )
            return 200, {}, {"Location": where}
        if kind == "multipart":
            border = re.search(r'boundary="?([^";]+)', headers["Content-Type"])
            assert border
            # not the parser of mails, which would mend line ends in the data
            parts = body.split(b"--" + border[1].encode())
            about, data = (re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1] for part in parts[1:3])
            wanted = json.loads(about)
            return 200, self._put(bucket, asked.get("name") or wanted["name"], _unended(data), wanted), {}
        return 200, self._put(bucket, asked["name"], body, {}), {}

    def _go_on(self, bucket: str, number: str, headers: Mapping[str, str], body: bytes) -> Answer:
        name, wanted, data = self._uploads[number]
        span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", headers.get("Content-Range", "bytes */*"))
        assert span
        if span[1]:
            del data[int(span[1]) :]
        data += body
        if span[2] != "*" and len(data) >= int(span[2]):
            del self._uploads[number]
            return 200, self._put(bucket, name, bytes(data), wanted), {}
        known = {"Range": f"bytes=0-{len(data) - 1}"} if data else {}
        if headers.get("X-GUploader-No-308"):
            return 200, b"", {**known, "X-Http-Status-Code-Override": "308"}
        return 308, b"", known

    # -- objects ------------------------------------------------------------------------------------

    def _put(self, bucket: str, name: str, data: bytes, wanted: dict[str, Any]) -> dict[str, Any]:
        file = self.folder / bucket / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        kept = {key: wanted[key] for key in ("metadata", "contentType") if key in wanted}
        self._known[bucket, name] = {**kept, "generation": str(time.time_ns() // 1000)}
        return self._describe(bucket, name)

    def _describe(self, bucket: str, name: str) -> dict[str, Any]:
        file = self.folder / bucket / name
        data, changed = file.read_bytes(), datetime.fromtimestamp(file.stat().st_mtime, timezone.utc)
        when = changed.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        path = f"{quote(bucket)}/o/{quote(name, safe='')}"
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/1",
            "name": name,
            "bucket": bucket,
            "generation": "1",
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "storageClass": "STANDARD",
            "size": str(len(data)),
            "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
            "timeCreated": when,
            "updated": when,
            "selfLink": f"{self.url}/storage/v1/b/{path}",
            "mediaLink": f"{self.url}/download/storage/v1/b/{path}?generation=1&alt=media",
            **self._known.get((bucket, name), {}),
        }


def _missing(what: str) -> Answer:
    return 404, {"error": {"code": 404, "message": f"no {what}", "errors": [{"reason": "notFound"}]}}, {}


def _part(data: bytes, span: str) -> Answer:
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", span)
    if not match:
        return 200, data, {}
    first = int(match[1]) if match[1] else max(0, len(data) - int(match[2]))
    last = min(int(match[2]), len(data) - 1) if match[1] and match[2] else len(data) - 1
    if first >= len(data):
        return 416, b"", {"Content-Range": f"bytes */{len(data)}"}
    return 206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"}


def _unended(data: bytes) -> bytes:
    """Return the content of a part, without the line end before the border."""
    return data[:-2] if data.endswith(b"\r\n") else data.removesuffix(b"\n")
