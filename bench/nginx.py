"""A real nginx before an application: one worker, loopback only, all of its files in one directory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARAMETERS = {
    "QUERY_STRING": "$query_string",
    "REQUEST_METHOD": "$request_method",
    "CONTENT_TYPE": "$content_type",
    "CONTENT_LENGTH": "$content_length",
    "REQUEST_URI": "$request_uri",
    "PATH_INFO": "$document_uri",
    "SERVER_PROTOCOL": "$server_protocol",
    "REQUEST_SCHEME": "$scheme",
    "REMOTE_ADDR": "$remote_addr",
    "REMOTE_PORT": "$remote_port",
    "SERVER_PORT": "$server_port",
    "SERVER_NAME": "$server_name",
}
"""What the file ``uwsgi_params`` of nginx sets."""


def _configuration(directory: Path, port: int, application: Path) -> str:
    kept = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    user = ["user root;"] if os.geteuid() == 0 else []
    lines = [
        *user,
        "daemon off;",
        "worker_processes 1;",
        f"pid {directory}/nginx.pid;",
        f"error_log {directory}/nginx.log;",
        "events { worker_connections 256; }",
        "http {",
        "    access_log off;",
        *(f"    {name}_temp_path {directory}/{name};" for name in kept),
        "    server {",
        f"        listen 127.0.0.1:{port};",
        "        location / {",
        *(f"            uwsgi_param {name} {value};" for name, value in _PARAMETERS.items()),
        f"            uwsgi_pass unix:{application};",
        "        }",
        "    }",
        "}",
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def nginx(directory: Path, port: int, application: Path) -> Iterator[None]:
    """nginx on ``127.0.0.1:port``, which speaks the uwsgi protocol to the UNIX socket ``application``."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise FileNotFoundError("nginx is not installed: apt-get install nginx-light (make bench does it)")
    directory.mkdir(exist_ok=True)
    file = directory / "nginx.conf"
    file.write_text(_configuration(directory, port, application))
    command = [program, "-p", str(directory), "-e", f"{directory}/nginx.log", "-c", str(file)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
