"""The service of AWS that gives limited credentials; the keys it gives are ones that an S3 server knows."""

from __future__ import annotations

import json
import threading
from collections import deque
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

_ANSWER = """\
<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{result}</{action}Result>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{action}Response>"""
_KEYS = """\
<Credentials><AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>a-token</SessionToken><Expiration>{expires}</Expiration></Credentials>"""
_REFUSED = """\
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>no</Message></Error><RequestId>1</RequestId></ErrorResponse>"""


class Sts:
    """Gives pairs of keys, one after the other; the last one again and again.

    Args:
        keys: The pairs.
        who: The ARN of whoever asks.
        lasts: Seconds that the credentials are said to be good for; None for as many as were asked for.
        bind: The address that it listens at.

    Attributes:
        asked: What was asked for: the action with its arguments, ``Policy`` as what it says.
        refuses: The code of the error that is the answer to every request for credentials; empty for none.
    """

    def __init__(
        self,
        *keys: tuple[str, str],
        who: str = "arn:aws:iam::123456789012:user/me",
        lasts: float | None = None,
        bind: str = "127.0.0.1",
    ) -> None:
        self.asked: list[dict[str, Any]] = []
        self.refuses = ""
        self.who, self.lasts = who, lasts
        self._keys = deque(keys)
        sts = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, body = sts._answer({name: values[0] for name, values in parse_qs(text).items()})
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((bind, 0), Handler)
        self.url = f"http://{bind}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _answer(self, asked: dict[str, Any]) -> tuple[int, str]:
        action = asked["Action"]
        if action == "GetCallerIdentity":
            return 200, _ANSWER.format(action=action, result=f"<Arn>{self.who}</Arn>")
        if self.refuses:
            return 403, _REFUSED.format(code=self.refuses)
        self.asked.append({**asked, "Policy": json.loads(asked["Policy"])})
        seconds = float(asked["DurationSeconds"]) if self.lasts is None else self.lasts
        expires = (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        access, secret = self._keys.popleft() if len(self._keys) > 1 else self._keys[0]
        return 200, _ANSWER.format(
            action=action, result=_KEYS.format(access=access, secret=secret, expires=expires)
        )

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()
