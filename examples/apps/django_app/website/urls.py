"""One page."""

import os

from django.http import HttpRequest, HttpResponse
from django.urls import path


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Hello from Django, process {os.getpid()}\n", content_type="text/plain")


urlpatterns = [path("", index)]
