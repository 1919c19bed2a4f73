"""The smallest Flask app that says who serves it."""

import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return f"Hello from Flask, process {os.getpid()}\n"
