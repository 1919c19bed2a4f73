"""Files served before the application is asked: ``static-map = /prefix=/directory`` and ``check-static = /directory``.

The rules, which are the original's unless said otherwise:

* ``check-static`` directories are looked at first, then the maps, in the order given. What is mapped may be one file. A
  prefix is a prefix of the text: ``/s`` is in ``/style.css`` too, and maps it to ``tyle.css``.
* Only GET and HEAD are answered, and only where a regular file is there that may be read. Everything else (another
  method, no file, a directory, no permission) falls through to the application.
* A file must be inside the directory when every symbolic link is followed. The check is of the file that was opened,
  not of its name, so it cannot be raced. (The original compares text, and takes ``/srv/static-private`` for a part of
  ``/srv/static``.) The directory itself may be a link, and may change or appear while the instance runs.
* The content type goes by the name, ``application/octet-stream`` where it says nothing. (The original sends none then,
  and leaves browsers to guess.) Conditional requests (:rfc:`9110` section 13) and one range (section 14) are answered;
  the original answers ranges with ``honour-range`` only.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from imperator.config.records import changed
from imperator.instance.application import Application
from imperator.instance.blame import CannotLoad
from imperator.instance.mounts import (
    AsgiApplication,
    Environ,
    Receive,
    Scope,
    Send,
    StartResponse,
    WsgiApplication,
)

_CHUNK = 128 * 1024
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.EPERM, errno.ENXIO)
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What of a request decides about the answer."""

    method: str
    if_modified_since: str = ""
    if_none_match: str = ""
    if_range: str = ""
    range: str = ""


@dataclass(slots=True)
class Found:
    """An open file that is to be served. Whoever has it closes it."""

    fd: int
    size: int
    modified: int
    """Nanoseconds since the epoch."""
    content_type: str

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, and which bytes of the file are its body."""

    status: str
    headers: Headers
    start: int = 0
    length: int = 0


def with_static(
    application: Application, static_map: Sequence[tuple[str, str]], check_static: Sequence[str]
) -> Application:
    """The application with files before it; itself where there are none. Raises :class:`CannotLoad` for RSGI."""
    if not static_map and not check_static:
        return application
    places = Places(static_map, check_static)
    wrapped: Callable[..., Any]
    if application.interface == "wsgi":
        wrapped = WsgiStatic(application.callable, places)
    elif application.interface == "asgi":
        wrapped = AsgiStatic(application.callable, places)
    else:
        raise CannotLoad(
            f"{application.where}: static-map and check-static serve files for WSGI and ASGI applications, and "
            f"{application.name} is RSGI: let the application or the web server do it"
        )
    return changed(application, callable=wrapped)


class Places:
    """Where files are looked for."""

    def __init__(self, static_map: Sequence[tuple[str, str]], check_static: Sequence[str]) -> None:
        self._places = [(b"", os.fsencode(os.path.abspath(directory))) for directory in check_static]
        self._places += [(os.fsencode(prefix), os.fsencode(os.path.abspath(root))) for prefix, root in static_map]

    def find(self, path: bytes) -> Found | None:
        """Open the file that a request's path (decoded) leads to. ``None``: there is none, ask the application."""
        if b"\0" in path:
            return None
        for prefix, root in self._places:
            if path.startswith(prefix):
                found = _open_inside(root, path[len(prefix) :])
                if found is not None:
                    return found
        return None


def _open_inside(root: bytes, rest: bytes) -> Found | None:
    # A map to one file answers for everything under its prefix.
    path = root if os.path.isfile(root) else os.path.join(root, rest.lstrip(b"/"))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None  # before it is opened: opening a device or a pipe may have effects
        fd = os.open(path, _OPEN)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and _is_inside(fd, path, root, status):
            return Found(fd, status.st_size, status.st_mtime_ns, content_type(path))
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _is_inside(fd: int, path: bytes, root: bytes, status: os.stat_result) -> bool:
    """Whether an open file is ``root``, or in it, by where the file itself is (proc_pid_fd(5))."""
    try:
        real = os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:  # in a jail without /proc: by name, if the name still leads to the same file
        real = os.path.realpath(path)
        if not os.path.exists(real) or not os.path.samestat(os.stat(real), status):
            return False
    real_root = os.path.realpath(root)
    if real == real_root or real.startswith(real_root.rstrip(b"/") + b"/"):
        return True
    # Quoted: the name comes from outside and may have line breaks in it.
    asked, shown = os.fsdecode(path), os.fsdecode(real)
    print(f"static file not served: {asked!r} is {shown!r}, outside {os.fsdecode(root)}", file=sys.stderr)
    return False


def content_type(path: bytes) -> str:
    """The media type that a file's name tells. What is compressed is served as what it is, not unpacked."""
    name = os.fsdecode(os.path.basename(path))
    guessed, encoding = mimetypes.guess_type(name)
    if encoding:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(
            encoding, "application/octet-stream"
        )
    if guessed in ("application/javascript", "application/x-javascript"):
        return "text/javascript"  # RFC 9239; Python says so since 3.12
    return guessed or "application/octet-stream"


def answer(conditions: Conditions, found: Found) -> Answer:
    """What is answered, by :rfc:`9110`: 200, 206, 304 or 416."""
    seconds = found.modified // 1_000_000_000
    last_modified = formatdate(seconds, usegmt=True)
    etag = f'"{found.modified:x}-{found.size:x}"'
    common: Headers = [("Last-Modified", last_modified), ("ETag", etag)]
    if conditions.if_none_match:
        if _names(conditions.if_none_match, etag):
            return Answer("304 Not Modified", common)
    elif conditions.if_modified_since:
        since = _date(conditions.if_modified_since)
        if since is not None and seconds <= since:
            return Answer("304 Not Modified", common)
    common.append(("Accept-Ranges", "bytes"))
    described: Headers = [("Content-Type", found.content_type), *common]
    wanted = conditions.range if conditions.method == "GET" else ""
    if wanted and (not conditions.if_range or conditions.if_range in (etag, last_modified)):
        part = _part(wanted, found.size)
        if part == "unsatisfiable":
            unsatisfied: Headers = [("Content-Range", f"bytes */{found.size}"), ("Content-Length", "0")]
            return Answer("416 Range Not Satisfiable", [*common, *unsatisfied])
        if isinstance(part, tuple):
            start, length = part
            ranged: Headers = [
                ("Content-Range", f"bytes {start}-{start + length - 1}/{found.size}"),
                ("Content-Length", str(length)),
            ]
            return Answer("206 Partial Content", [*described, *ranged], start, length)
    return Answer("200 OK", [*described, ("Content-Length", str(found.size))], 0, found.size)


def _part(header: str, size: int) -> tuple[int, int] | str | None:
    """Start and length of ``bytes=…``; ``unsatisfiable``; ``None`` for what is to be ignored, as several ranges are."""
    unit, _, spec = header.partition("=")
    first, dash, last = (word.strip() for word in spec.partition("-"))
    digits = all(word.isascii() and word.isdigit() for word in (first, last) if word)
    if unit.strip().lower() != "bytes" or not dash or not digits or not (first or last):
        return None
    if not first:
        length = min(int(last), size)
        return (size - length, length) if length else "unsatisfiable"
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    return (start, end - start + 1) if start < size else "unsatisfiable"


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in header.split(","))


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None  # RFC 9110: a date that is none is as if it was not sent


class Body:
    """A part of a file as the body of a WSGI answer. The file is closed when the server closes the body."""

    def __init__(self, found: Found, start: int, length: int) -> None:
        self._found = found
        self._position = start
        self._end = start + length

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self.read()
        if not chunk:
            self.close()
            raise StopIteration
        return chunk

    def read(self) -> bytes:
        """The next bytes; empty at the end, and where the file has become shorter."""
        wanted = min(_CHUNK, self._end - self._position)
        if wanted <= 0 or self._found.fd < 0:
            return b""
        chunk = os.pread(self._found.fd, wanted, self._position)
        self._position += len(chunk)
        return chunk

    def close(self) -> None:
        self._found.close()

    def __del__(self) -> None:
        self.close()


class WsgiStatic:
    """A WSGI application with files before it."""

    def __init__(self, application: WsgiApplication, places: Places) -> None:
        self.application = application
        self.places = places

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method = environ.get("REQUEST_METHOD", "")
        if method not in ("GET", "HEAD"):
            return self.application(environ, start_response)
        found = self.places.find(environ.get("PATH_INFO", "").encode("latin-1"))
        if found is None:
            return self.application(environ, start_response)
        conditions = Conditions(
            method,
            environ.get("HTTP_IF_MODIFIED_SINCE", ""),
            environ.get("HTTP_IF_NONE_MATCH", ""),
            environ.get("HTTP_IF_RANGE", ""),
            environ.get("HTTP_RANGE", ""),
        )
        try:
            told = answer(conditions, found)
            start_response(told.status, told.headers)
        except BaseException:
            found.close()
            raise
        if method == "HEAD" or not told.length:
            found.close()
            return []
        return Body(found, told.start, told.length)


class AsgiStatic:
    """An ASGI application with files before it. Files are read in threads, so a slow disk holds up nobody else."""

    def __init__(self, application: AsgiApplication, places: Places) -> None:
        self.application = application
        self.places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.application(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        found = self.places.find(path.encode("utf-8", "surrogateescape"))
        if found is None:
            await self.application(scope, receive, send)
            return
        try:
            await self._send(scope, found, send)
        finally:
            found.close()

    @staticmethod
    async def _send(scope: Scope, found: Found, send: Send) -> None:
        import asyncio  # a WSGI instance does without

        given = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        conditions = Conditions(
            scope["method"],
            given.get(b"if-modified-since", ""),
            given.get(b"if-none-match", ""),
            given.get(b"if-range", ""),
            given.get(b"range", ""),
        )
        told = answer(conditions, found)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in told.headers]
        await send({"type": "http.response.start", "status": int(told.status[:3]), "headers": headers})
        if scope["method"] == "GET":
            body = Body(found, told.start, told.length)
            while chunk := await asyncio.to_thread(body.read):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
