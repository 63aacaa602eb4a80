"""A stream to the agent that is made again whenever it breaks.

Three threads: one reads, one writes (so that nobody else waits for a network), one notices silence. What is
sent as a message goes out again after a cut until it is acknowledged; a request that was under way fails.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from . import fates
from .agent import wire
from .answers import Answers, Peer
from .errors import (
    ConnectionLostError,
    GpuRemoteError,
    HostKeyError,
    KernelError,
    SshAuthError,
    TransportError,
)
from .transport.base import Stream

ATTACH_LIMIT = 20.0
"""Seconds the agent may take to attach us; an agent that starts a kernel answers before it runs."""
PING = 10.0
"""Seconds of silence after which the agent is asked whether it lives; after three times that, it is cut."""
RETRIES = (0.0, 0.1, 0.4, 1.0, 2.0, 5.0)
"""Seconds between attempts to reconnect; the last goes on."""
_SURE = 2
"""The attempt from which on the agent is started if it is gone; before, a new one may just be taking over."""
_CLOSE_LIMIT = 5.0
_FITS = 32 << 10
"""Bytes that a stream takes at once when nothing else is under way."""

_log = logging.getLogger(__name__)


class Link:
    """The way to one kernel.

    Args:
        connect: Returns a new stream to the agent; its argument says whether to make sure first that the
            agent runs, which costs a round trip or more.
        peer: Gets what comes, in the link's thread, and must not block.
        patience: Seconds to go on reconnecting.
    """

    def __init__(self, connect: Callable[[bool], Stream], peer: Peer, patience: float) -> None:
        self.error: GpuRemoteError | None = None
        self._connect = connect
        self._peer = peer
        self._patience = patience
        self._stream: Stream | None = None
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._out: deque[tuple[int | None, bytes]] = deque()
        self._unacknowledged: dict[str, bytes] = {}
        self._answers = Answers()
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self._heard_at = 0.0
        self._decoder = wire.Decoder()

    # -- life ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Attach.

        Raises:
            TransportError: The machine cannot be reached.
            LookupError: The agent refused.
        """
        try:
            self._attach(self._connect(False))
        except (TransportError, OSError):
            if self._over.is_set():
                raise
            self._attach(self._connect(True))
        for work in (self._read, self._write, self._watch_silence):
            thread = threading.Thread(target=work, name=f"link {work.__name__}", daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def is_open(self) -> bool:
        """Whether it is attached, or about to be again."""
        return bool(self._threads) and not self._over.is_set()

    def close(self, error: GpuRemoteError) -> None:
        """End it, and all that waits with `error`; no thread remains."""
        with self._changed:
            if self.error is None:
                self.error = error
            self._over.set()
            stream, self._stream = self._stream, None
            self._changed.notify_all()
        if stream:
            stream.close()
        self._answers.fail(self.error)
        self._peer.over(self.error)
        for thread in self._threads:
            # an interrupt may have come before it was started
            if thread is not threading.current_thread() and thread.ident:
                thread.join(_CLOSE_LIMIT)

    def _attach(self, stream: Stream) -> None:
        """Say who we are and where to begin; wait for the answer."""
        self._decoder = wire.Decoder()
        guard = threading.Timer(ATTACH_LIMIT, stream.close)
        guard.daemon = True
        guard.start()
        try:
            with self._changed:
                hello = self._peer.hello(list(self._unacknowledged))
            _, request, answer = self._answers.await_one("attach", **hello)
            stream.sendall(request)
            early: list[wire.Record] = []
            while not answer.done():
                self._feed(stream, early.append)
            result = answer.result()
            with self._changed:
                for msg_id in result["known"]:
                    self._unacknowledged.pop(msg_id, None)
                again = [(None, record) for record in self._unacknowledged.values()]
                self._out = deque([*again, *(item for item in self._out if item[0] is not None)])
                self._peer.welcome(result)
                self._stream = stream
                if self._over.is_set():  # closed meanwhile
                    raise OSError("closed")
                self._changed.notify_all()
            for record in early:  # what came in one piece with the answer follows it
                self._peer.take(record)
        except (OSError, ValueError) as e:
            stream.close()
            if self.error:
                raise self.error from None
            what = "The agent on the machine does not answer."
            raise ConnectionLostError(what, hint="Run the cell again.") from e
        except BaseException:
            stream.close()
            raise
        finally:
            guard.cancel()

    def _reconnect(self) -> bool:
        lost = time.monotonic()
        for attempt in itertools.count():
            if self._over.wait(RETRIES[min(attempt, len(RETRIES) - 1)]):
                return False
            try:
                self._attach(self._connect(attempt >= _SURE))
            except (HostKeyError, SshAuthError) as e:
                return self._give_up(e)
            except (TransportError, OSError) as e:
                gone = time.monotonic() - lost
                if gone > self._patience:
                    return self._give_up(fates.silent(gone, getattr(e, "message", e)))
                self._peer.news(f"connection lost, reconnecting for {gone:.0f} s")
            except GpuRemoteError as e:
                return self._give_up(e)
            except LookupError as e:
                return self._give_up(fates.gone(e))
            else:
                self._peer.news("")
                return True
        raise AssertionError("unreachable")

    def _give_up(self, error: GpuRemoteError) -> bool:
        if not self._over.is_set():
            self._peer.news("")
            self.close(error)
        return False

    # -- the threads --------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while stream := self._stream:
                try:
                    while True:
                        self._feed(stream, self._peer.take)
                except (OSError, ValueError):
                    stream.close()
                self._cut()
                if self._over.is_set() or not self._reconnect():
                    return
        except Exception as e:
            _log.exception("reading from the agent failed")
            self._give_up(KernelError(f"Reading from the agent failed: {e!r}", hint="Run the cell again."))

    def _feed(self, stream: Stream, take: Callable[[wire.Record], None]) -> None:
        data = stream.recv(1 << 20)
        if not data:
            raise ConnectionResetError("end of stream")
        self._heard_at = time.monotonic()
        for record in self._decoder.feed(data):
            if record.channel == wire.AGENT:
                self._answers.take(record)
            else:
                take(record)

    def _cut(self) -> None:
        """Fail the requests whose answers may be lost; what waits to be sent goes on waiting."""
        with self._changed:
            self._stream = None
            waiting = {number for number, _ in self._out}
        self._answers.fail(ConnectionLostError("The connection to the machine broke."), but=waiting)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over.is_set() or (self._stream and self._out))
                if self._over.is_set():
                    return
                stream = self._stream
                _, record = self._out.popleft()
                if not self._sending.acquire(timeout=_CLOSE_LIMIT):
                    # whoever held it was interrupted between two instructions, or is stuck
                    self._sending = threading.Lock()
                    self._sending.acquire()
            assert stream is not None
            self._send_all(stream, record)

    def _send_all(self, stream: Stream, record: bytes) -> None:
        """Send with `_sending` held; let go of it."""
        try:
            stream.sendall(record)
        except OSError:
            stream.close()  # the reader notices
        except BaseException:
            stream.close()  # half a record would spoil the rest
            raise
        finally:
            with contextlib.suppress(RuntimeError):  # another lock has taken its place
                self._sending.release()

    def _watch_silence(self) -> None:
        """Cut a connection that is up and says nothing: a frozen machine, or a link that swallows."""
        while not self._over.wait(PING / 2):
            stream = self._stream
            silence = time.monotonic() - self._heard_at
            if stream is None:  # an attempt to reconnect can take long before it fails
                self._peer.news(f"connection lost, reconnecting for {silence:.0f} s")
                if self._stream:
                    self._peer.news("")  # it is back since
            elif silence > 3 * PING:
                self._peer.news(f"no answer from the machine for {silence:.0f} s")
                stream.close()
            else:
                self.ask("ping")  # also while much is heard: it shows the machine that somebody is here

    # -- out ----------------------------------------------------------------------------------------

    def send(self, record: bytes, msg_id: str) -> None:
        """Send a message; it arrives once, also through a cut."""
        with self._changed:
            stream = self._stream
            # the agent has taken all before, so this cannot block: no need for the writer
            fits = not (self._out or self._unacknowledged) and len(record) <= _FITS
            self._unacknowledged[msg_id] = record
            if not (stream and fits and self._sending.acquire(blocking=False)):
                self._out.append((None, record))
                self._changed.notify_all()
                return
        self._send_all(stream, record)

    def acknowledged(self, msg_id: str) -> None:
        """Take that the agent has a message."""
        with self._changed:
            self._unacknowledged.pop(msg_id, None)

    def unacknowledged(self) -> set[str]:
        """Return the ids of messages that may not have arrived."""
        return set(self._unacknowledged)

    def start_again(self) -> None:
        """Break the stream, to be attached anew."""
        if stream := self._stream:
            stream.close()

    def ask(self, op: str, **arguments: Any) -> Future[Any]:
        """Put a request; it goes out when there is a connection."""
        number, request, answer = self._answers.await_one(op, **arguments)
        with self._changed:
            self._out.append((number, request))
            self._changed.notify_all()
        if self.error:
            self._answers.fail(self.error)
        return answer
