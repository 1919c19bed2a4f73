"""One WSGI request under granian: the part of PEP 3333 that its Rust side leaves to Python.

granian calls a Python function with ``(protocol, environ)`` in one of its Python threads. Its own wrapper is small, and
where it is too small for applications that ran under uWSGI this one does more:

* ``start_response`` may be called late, at the first chunk of a generator; it returns ``write``; it takes ``exc_info``;
* ``wsgi.input`` reads lines with their ends, takes ``read(-1)``, and raises where the client went away before the whole
  body came (granian's would end quietly, and half an upload would look whole);
* a status that is no status, a chunk that is no bytes, a header that cannot be sent: said, not aborted, not dropped
  silently;
* what an application raises is on ``wsgi.errors`` (stderr), and the client gets 500.

What it cannot mend: after the first chunk of a body without Content-Length was sent, the client cannot be told that the
rest is missing; and of two headers that differ in ``-`` and ``_`` only one arrives (``X_A`` can stand in for ``X-A``).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

Headers = list[tuple[str, str]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
PLAIN: Headers = [("Content-Type", "text/plain; charset=utf-8")]


class WsgiProtocol(Protocol):
    """What granian gives to answer through. The first answer counts."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...

    def response_iter(self, status: int, headers: Headers, body: object) -> None:
        """Calls ``body.__next__()`` until StopIteration or until the client is gone, then ``body.close()``."""


class GranianBody(Protocol):
    """granian's ``wsgi.input``; only this of it is sound."""

    def read(self, size: int) -> bytes:
        """Blocks until ``size`` bytes are there, or no more will come."""


def caller(
    application: WSGIApplication,
    base: WSGIEnvironment,
    gate: Gate | None = None,
    is_leaving: Callable[[], bool] = lambda: False,
) -> Callable[[WsgiProtocol, WSGIEnvironment], None]:
    """What granian shall call for a request. ``base`` is laid over each environ. In a ``gate``, if there is one.

    When ``is_leaving``, an answer is the last one on its connection.
    """

    def call(protocol: WsgiProtocol, environ: WSGIEnvironment) -> None:
        environ.update(base)
        if environ["SERVER_PROTOCOL"] == "HTTP/1":
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        if not environ["HTTP_HOST"]:  # granian's for "none was sent": an application would take it for a host
            del environ["HTTP_HOST"]
        length = environ.get("CONTENT_LENGTH")
        if length is not None or "HTTP_TRANSFER_ENCODING" in environ:
            left = int(length) if length is not None and length.isdecimal() else None
            environ["wsgi.input"] = io.BufferedReader(_Body(environ["wsgi.input"], left), 65536)
        else:
            environ["wsgi.input"] = io.BytesIO()
        start = StartResponse(is_leaving)
        result: Iterable[bytes] | None = None
        try:
            result = application(environ, start)
            if type(result) is list:
                protocol.response_bytes(start.status, start.headers, start.before + b"".join(result))
                start.sent = True
            else:
                _answer_by_chunks(protocol, start, result)
        except BaseException as error:  # noqa: BLE001 (the application's own: reported, and the client gets its 500)
            _report(environ, error)
            if not start.sent:
                protocol.response_bytes(500, start.last(PLAIN), b"Internal Server Error\n")
            start.sent = True
        finally:
            # A list has no close; a stream was closed by granian, through _Stream.
            if result is not None and type(result) is not list and not start.streamed:
                _close(environ, result)

    if gate is None:
        return call

    def call_in_turn(protocol: WsgiProtocol, environ: WSGIEnvironment) -> None:
        gate.enter()
        try:
            call(protocol, environ)
        finally:
            gate.leave()

    return call_in_turn


class Gate:
    """Lets a number of requests in at once."""

    def __init__(self, places: int) -> None:
        from _queue import SimpleQueue  # a semaphore in C, which may be released more often than it was acquired

        free: SimpleQueue[None] = SimpleQueue()
        self.enter: Callable[[], None] = free.get
        self.leave: Callable[[], None] = partial(free.put, None)
        for _ in range(places):
            self.leave()


class StartResponse:
    """``start_response`` of one request, and what it was told."""

    __slots__ = ("_headers", "_is_leaving", "_status", "before", "sent", "streamed")

    def __init__(self, is_leaving: Callable[[], bool]) -> None:
        self._is_leaving = is_leaving
        self._status: int | None = None
        self._headers: Headers = []
        self.before = b""
        """What came through ``write``: sent before the rest."""
        self.sent = False
        self.streamed = False

    def __call__(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
        if exc_info is not None:
            if self.sent and exc_info[1] is not None:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._status is not None:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        code = status[:3]
        if not (code.isdecimal() and code.isascii() and code >= "200" and status[3:4] in ("", " ")):
            raise ValueError(f"start_response: {status!r} is no status: three digits from 200 on, a space, words")
        for name, value in headers:
            if not (value.isascii() and value.isprintable()) or not name.isascii():
                _check_header(name, value)
        self._status = int(code)
        self._headers = headers
        return self._write

    def _write(self, data: bytes) -> None:
        self.before += data

    @property
    def status(self) -> int:
        if self._status is None:
            raise AssertionError("the application answered without calling start_response (PEP 3333)")
        return self._status

    @property
    def headers(self) -> Headers:
        """As they are to be sent."""
        return self.last(self._headers)

    def last(self, headers: Headers) -> Headers:
        """The headers, with what has the connection closed, if this server is about to end."""
        return [*headers, ("Connection", "close")] if self._is_leaving() else headers

    def length(self) -> int | None:
        """The Content-Length that the application gave."""
        for name, value in self._headers:
            if name.lower() == "content-length" and value.isdecimal():
                return int(value)
        return None


def _check_header(name: str, value: str) -> None:
    """granian would leave such a header out without a word. A tab is allowed."""
    if value.replace("\t", " ").isprintable() and value.isascii() and name.isascii():
        return
    why = "characters outside ASCII" if (name + value).isprintable() else "control characters"
    raise ValueError(
        f"start_response: the header {name!r} cannot be sent, it has {why}: {value!r}. "
        "Encode it (RFC 8187 for a file name: filename*=UTF-8''…)"
    )


def _answer_by_chunks(protocol: WsgiProtocol, start: StartResponse, result: Iterable[bytes]) -> None:
    chunks = iter(result)
    first = start.before
    for chunk in chunks:  # start_response need not have been called before the first one
        first = start.before + chunk
        if first:
            break
    else:
        first = start.before
        protocol.response_bytes(start.status, start.headers, first)
        start.sent = True
        return
    start.before = b""
    if start.length() == len(first):
        # All of it: sent at once, which is cheaper than a stream, and then the application comes to its end.
        protocol.response_bytes(start.status, start.headers, first)
        start.sent = True
        for chunk in chunks:
            if chunk:
                break
        return
    start.sent = start.streamed = True
    protocol.response_iter(start.status, start.headers, _Stream(first, chunks, result))


class _Stream:
    """A body that goes chunk by chunk. granian calls these two methods, and never after a failure."""

    __slots__ = ("_chunks", "_first", "_result")

    def __init__(self, first: bytes, chunks: Iterator[bytes], result: Iterable[bytes]) -> None:
        self._first = first
        self._chunks = chunks
        self._result = result

    def __next__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            chunk = next(self._chunks)
            if not isinstance(chunk, bytes):
                raise TypeError(f"a chunk of the body must be bytes, not {type(chunk).__name__} (PEP 3333)")
        except StopIteration:
            raise
        except BaseException as error:  # noqa: BLE001 (the application's own: reported; the body ends here)
            _report({}, error)
            raise StopIteration from None
        return chunk

    def close(self) -> None:
        _close({}, self._result)


def _close(environ: WSGIEnvironment, result: Iterable[bytes]) -> None:
    close = getattr(result, "close", None)
    if close is None:
        return
    try:
        close()
    except BaseException as error:  # noqa: BLE001 (the application's own, when the answer is already on its way)
        _report(environ, error)


def _report(environ: WSGIEnvironment, error: BaseException) -> None:
    import traceback  # only where something went wrong

    where = f"{environ.get('REQUEST_METHOD', '')} {environ.get('PATH_INFO', '')}".strip() or "the body of an answer"
    text = "".join(traceback.format_exception(error))
    print(f"the application failed at {where}\n{text}", end="", file=environ.get("wsgi.errors", sys.stderr), flush=True)


class _Body(io.RawIOBase):
    """A request's body. ``left`` are the bytes that must still come; ``None``: as many as come (chunked)."""

    def __init__(self, inner: GranianBody, left: int | None) -> None:
        self._inner = inner
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer) if self._left is None else min(len(buffer), self._left)
        data = self._inner.read(size) if size else b""
        if self._left is not None:
            self._left -= len(data)
            if len(data) < size:
                raise ConnectionResetError(f"the client went away: {self._left} bytes of its request never came")
        buffer[: len(data)] = data
        return len(data)


class FileWrapper:
    """``wsgi.file_wrapper``: a file as chunks, of at least 64 KiB (each one costs a hand-over between threads)."""

    def __init__(self, file: Any, block_size: int = 8192) -> None:
        self._file = file
        self._block_size = max(block_size, 65536)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data: bytes = self._file.read(self._block_size)
        if not data:
            raise StopIteration
        return data

    def close(self) -> None:
        close = getattr(self._file, "close", None)
        if close is not None:
            close()
