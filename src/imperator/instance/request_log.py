"""The request log: one line for each request that was answered, as the original writes it (or as ``log-format`` says).

The rules:

* a line goes to stderr (``logto``) in one write(2), when the answer was handed over to the engine. Not
  several at once: measured, that saves nothing where the log is a file, and a process that is killed would lose lines;
* in ``log-format`` ``%(name)`` is one of :data:`NAMES`, or ``%(var.NAME)``, a variable of the request;
* a value that is not there is ``-``, as in the original. So is what nobody can know here (``switches``, a variable that
  an application sets through uWSGI's own module, a metric): that is said once, at the start;
* ``log-x-forwarded-for``: the client is what ``X-Forwarded-For`` says.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from imperator.config.instance_settings import InstanceSettings, Interface
from imperator.instance.cgi_size import cgi_size

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Value = Callable[["Line"], object]
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.~!$&'()*+,;=:@-]*")


class Line:
    """What is known of one request when it has been answered."""

    __slots__ = ("_cgi", "charset", "ended", "headers", "number", "size", "started", "status", "vars", "worker")

    def __init__(self, variables: dict[str, Any], worker: int, charset: str = "utf-8") -> None:
        self.vars = variables
        """As CGI has them, and the engine's own."""
        self.charset = charset
        """What the path was decoded with."""
        self._cgi: tuple[int, int] | None = None
        self.worker = worker
        self.number = 0
        self.started = time.time()
        self.ended = 0.0
        self.status = "500"
        self.headers: Sequence[tuple[Any, Any]] = ()
        self.size = 0
        """Bytes of the body."""

    @property
    def took(self) -> float:
        return self.ended - self.started

    @property
    def uri(self) -> str:
        """As the client has sent it, more or less: what it need not have quoted is not."""
        query = self.vars.get("QUERY_STRING")
        path = f"{self.vars.get('SCRIPT_NAME', '')}{self.vars.get('PATH_INFO', '')}"
        if not path.isascii() or not _PLAIN_PATH.fullmatch(path):
            from urllib.parse import quote

            path = quote(path, safe="/!$&'()*+,;=:@~", encoding=self.charset)
        return f"{path}?{query}" if query else path

    @property
    def hsize(self) -> int:
        """Bytes of the answer's head."""
        size = len("HTTP/1.1  \r\n\r\n") + 6
        for name, value in self.headers:
            size += len(name) + len(value) + 4
        return size

    @property
    def cgi(self) -> tuple[int, int]:
        """How many variables of CGI's there are, and how many bytes they take in a packet of the uwsgi protocol."""
        if self._cgi is None:
            self._cgi = cgi_size(self.vars)
        return self._cgi


def _variable(name: str) -> Value:
    return lambda line: line.vars.get(name) or None


def _memory(field: int, unit: int) -> Value:
    def value(_: Line) -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[field]) * os.sysconf("SC_PAGE_SIZE") // unit

    return value


@lru_cache(maxsize=16)
def _moment(form: str, second: int) -> str:
    return time.strftime(form, time.localtime(second))


NAMES: dict[str, Value] = {
    "uri": lambda line: line.uri,
    "method": _variable("REQUEST_METHOD"),
    "user": _variable("REMOTE_USER"),
    "addr": _variable("REMOTE_ADDR"),
    "host": _variable("HTTP_HOST"),
    "proto": _variable("SERVER_PROTOCOL"),
    "uagent": _variable("HTTP_USER_AGENT"),
    "referer": _variable("HTTP_REFERER"),
    "status": lambda line: line.status,
    "rsize": lambda line: line.size,
    "hsize": lambda line: line.hsize,
    "size": lambda line: line.size + line.hsize,
    "cl": lambda line: line.vars.get("CONTENT_LENGTH") or 0,
    "micros": lambda line: int(line.took * 1e6),
    "msecs": lambda line: int(line.took * 1e3),
    "secs": lambda line: int(line.took),
    "tmsecs": lambda line: int(line.started * 1e3),
    "tmicros": lambda line: int(line.started * 1e6),
    "time": lambda line: int(line.started),
    "epoch": lambda line: int(line.ended),
    "ltime": lambda line: _moment("%d/%b/%Y:%H:%M:%S %z", int(line.started)),
    "ftime": lambda line: _moment("%d/%b/%Y:%H:%M:%S %z", int(line.started)),
    "ctime": lambda line: _moment("%a %b %e %H:%M:%S %Y", int(line.started)),
    "pid": lambda line: os.getpid(),
    "wid": lambda line: line.worker,
    "switches": lambda line: None,
    "vars": lambda line: line.cgi[0],
    "pktsize": lambda line: line.cgi[1],
    "core": lambda line: 0,
    "vsz": _memory(0, 1),
    "rss": _memory(1, 1),
    "vszM": _memory(0, 1 << 20),
    "rssM": _memory(1, 1 << 20),
    "modifier1": lambda line: 0,
    "modifier2": lambda line: 0,
    "headers": lambda line: len(line.headers),
    "werr": lambda line: 0,
    "rerr": lambda line: 0,
    "ioerr": lambda line: 0,
    "count": lambda line: f"{line.number}/{line.number}",
}


def _default(line: Line, hsize: int, pid: int) -> str:
    """The original's own line. In one go: through :data:`NAMES` it would take three times as long."""
    known = line.vars.get
    count, size = line.cgi
    return (
        f"[pid: {pid}|app: 0|req: {line.number}/{line.number}] {known('REMOTE_ADDR') or ''} "
        f"({known('REMOTE_USER') or ''}) {{{count} vars in {size} bytes}} "
        f"[{_moment('%a %b %e %H:%M:%S %Y', int(line.started))}] {known('REQUEST_METHOD') or ''} {line.uri} => "
        f"generated {line.size} bytes in {int((line.ended - line.started) * 1e3)} msecs "
        f"({known('SERVER_PROTOCOL') or ''} {line.status}) {len(line.headers)} headers in {hsize} bytes "
        f"(1 switches on core 0)"
    )


class RequestLog:
    """Writes the lines of one worker; with ``disable-logging`` it only counts bytes, for the statistics."""

    def __init__(self, settings: InstanceSettings, worker: int) -> None:
        self._worker = worker
        self._pid = os.getpid()
        self._number = 0
        self._silent = settings.disable_logging
        self.sent = 0
        """Bytes of the answers."""
        self._forwarded = settings.log_x_forwarded_for
        self._plain = settings.log_format is None
        self._text, self._values = _parsed(settings.log_format or "")

    def wrap(self, application: Any, interface: Interface) -> Any:
        """The same application, with a line for each request."""
        return {"wsgi": self._wsgi, "asgi": self._asgi, "rsgi": self._rsgi}[interface](application)

    def write(self, line: Line) -> None:
        hsize = line.hsize
        self.sent += line.size + hsize
        if self._silent:
            return
        line.ended = time.time()
        self._number = line.number = self._number + 1
        if self._forwarded and (forwarded := line.vars.get("HTTP_X_FORWARDED_FOR")):
            line.vars["REMOTE_ADDR"] = forwarded
        if self._plain:
            text = _default(line, hsize, self._pid)
        else:
            found = [value(line) for value in self._values]
            text = self._text % tuple("-" if one is None or one == "" else one for one in found)
        # A line is a line, whatever a client has put into its request.
        if not text.isprintable():
            text = text.translate(_NO_BREAKS)
        os.write(2, text.encode(errors="surrogateescape") + b"\n")

    # -- around an application

    def _wsgi(self, application: WSGIApplication) -> WSGIApplication:
        worker, write = self._worker, self.write

        def logged(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            line = Line(environ, worker, "latin-1")

            def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
                line.status, line.headers = status[:3], headers
                return start_response(status, headers, exc_info)

            try:
                result = application(environ, start)
            except BaseException:
                write(line)
                raise
            if type(result) is list or type(result) is tuple:
                line.size = sum(map(len, result))
                write(line)
                return result
            return _LoggedBody(result, line, write)

        return logged

    def _asgi(self, application: Any) -> Any:
        async def logged(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await application(scope, receive, send)
                return
            line = Line(_of_scope(scope), self._worker)
            if scope["type"] == "websocket":
                line.status = "101"

            async def watched(message: Any) -> None:
                await send(message)
                if message["type"] == "http.response.start":
                    line.status, line.headers = str(message["status"]), list(message.get("headers", ()))
                elif message["type"] == "http.response.body":
                    line.size += len(message.get("body", b""))

            try:
                await application(scope, receive, watched)
            finally:
                self.write(line)

        return logged

    def _rsgi(self, application: Any) -> Any:
        return _LoggedRsgi(application, self)


class _LoggedBody:
    """An iterable whose chunks are counted, and whose close() writes the line."""

    __slots__ = ("_inner", "_iterator", "_line", "_write")

    def __init__(self, inner: Iterable[bytes], line: Line, write: Callable[[Line], None]) -> None:
        self._inner = inner
        self._iterator: Iterator[bytes] | None = None
        self._line: Line | None = line
        self._write = write

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._iterator is None:
            self._iterator = iter(self._inner)
        chunk = next(self._iterator)
        if self._line is not None:
            self._line.size += len(chunk)
        return chunk

    def close(self) -> None:
        line, self._line = self._line, None
        try:
            close = getattr(self._inner, "close", None)
            if close is not None:
                close()
        finally:
            if line is not None:
                self._write(line)


class _LoggedRsgi:
    def __init__(self, application: Any, log: RequestLog) -> None:
        self._call = getattr(application, "__rsgi__", application)
        self._log = log
        for name in ("__rsgi_init__", "__rsgi_del__"):
            if hasattr(application, name):
                setattr(self, name, getattr(application, name))

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        line = Line(_of_rsgi(scope), self._log._worker)
        try:
            await self._call(scope, _LoggedProtocol(protocol, line) if scope.proto != "ws" else protocol)
        finally:
            self._log.write(line)


class _LoggedProtocol:
    """granian's protocol of one request, which notes what is answered."""

    def __init__(self, protocol: Any, line: Line) -> None:
        self._protocol = protocol
        self._line = line

    def __call__(self) -> Any:
        return self._protocol()

    def __aiter__(self) -> Any:
        return aiter(self._protocol)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._protocol, name)
        if not name.startswith("response_"):
            return found

        def answer(status: int, headers: Any, *rest: Any) -> Any:
            self._line.status, self._line.headers = str(status), list(headers)
            if name in ("response_bytes", "response_str"):
                self._line.size = len(rest[0])
            return found(status, headers, *rest)

        return answer


# -- formats


_NO_BREAKS = {number: f"\\x{number:02x}" for number in (*range(32), 127) if number != 9}


def _parsed(text: str) -> tuple[str, list[Value]]:
    """A format as one of Python's, and what is to be put in."""
    parts = re.split(r"%\(([^)]*)\)", text)
    values = [_value(name) for name in parts[1::2]]
    return "%s".join(part.replace("%", "%%") for part in parts[::2]), values


def _value(name: str) -> Value:
    if name.startswith("var."):
        return _variable(name.removeprefix("var."))
    return NAMES.get(name, lambda line: None)


def unknown_in(log_format: str) -> list[str]:
    """The names in a format for which there will never be a value."""
    names = re.findall(r"%\(([^)]*)\)", log_format)
    return [name for name in names if name not in NAMES and not name.startswith("var.")]


# -- requests that do not come as CGI variables


def _of_scope(scope: Any) -> dict[str, Any]:
    client = scope.get("client")
    variables = {
        "REQUEST_METHOD": scope.get("method", "GET"),
        "PATH_INFO": scope.get("path", ""),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "REMOTE_ADDR": client[0] if client else "",
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
    }
    for name, value in scope.get("headers", ()):
        _add_header(variables, name.decode("latin-1"), value.decode("latin-1"))
    return variables


def _of_rsgi(scope: Any) -> dict[str, Any]:
    variables = {
        "REQUEST_METHOD": getattr(scope, "method", "GET"),
        "PATH_INFO": scope.path,
        "QUERY_STRING": scope.query_string,
        "REMOTE_ADDR": (scope.client or "").rpartition(":")[0].strip("[]"),
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
    }
    for name, value in scope.headers.items():
        _add_header(variables, name, value)
    return variables


def _add_header(variables: dict[str, Any], name: str, value: str) -> None:
    name = name.upper().replace("-", "_")
    variables[name if name in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{name}"] = value
