"""The dashboard's server: one page, and what it asks for as JSON. It listens on this machine alone, writes nothing."""

from __future__ import annotations

import json
import mimetypes
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rlbench.analysis.contents import defined
from rlbench.analysis.dashboard import views
from rlbench.analysis.results import Results
from rlbench.errors import RunError, UsageError

HOST = "127.0.0.1"
NAMES = {HOST, "localhost"}
"""How a browser may call this machine: a page from elsewhere whose own name leads here gets nothing."""
FRESH = 1.0  # seconds for which the tables are taken as they are
PAGES = {"/": "index.html", "/app.js": "app.js", "/style.css": "style.css"}
Query = dict[str, str]


class Site:
    """The tables of a results folder, and the answers made of them.

    Args:
        root: the results folder.
        words: the runs that are shown, of all that there are.
    """

    def __init__(self, root: Path, words: Sequence[str] = ()) -> None:
        self.results = Results(root, words)
        self.lock = threading.Lock()
        self.looked = 0.0
        self.version = 0
        """Rises whenever something has changed."""
        self.answers: dict[tuple[str, str], tuple[int, bytes]] = {}
        """The last answer to each question of the tables, and the version that it is true for."""
        self.routes: dict[str, Callable[[Query], Any]] = {
            "/api/version": lambda _: self.version,
            "/api/runs": lambda q: views.runs(self.results, words_of(q)),
            "/api/curves": lambda q: views.learning_curves(
                self.results, words_of(q), q["metric"], listed(q, "by"), q.get("over") == "tasks"
            ),
            "/api/compare": lambda q: views.comparison(
                self.results, words_of(q), q.get("protocol") or "last", q.get("metric") or None, listed(q, "by")
            ),
            "/api/run": lambda q: views.run(self.results, q["id"]),
            "/api/diff": lambda q: views.difference(self.results, listed(q, "ids")),
        }

    def answer(self, path: str, query: Query) -> bytes:
        """The answer to a question, as JSON; what cannot be answered says why under `error`."""
        key = path, json.dumps(query, sort_keys=True)
        with self.lock:
            try:
                self.look()
                if key in self.answers and self.answers[key][0] == self.version:
                    return self.answers[key][1]
                content = {"version": self.version, "content": self.routes[path](query)}
            except (UsageError, RunError) as error:
                content = {"version": self.version, "error": str(error)}
            except OSError as error:  # a run may be deleted, or begin anew, between the look and the reading
                content = {"version": self.version, "error": f"{error.filename} has gone"}
            data = json.dumps(defined(content), default=str).encode()
            if path != "/api/run":  # which shows files that have no version
                if len(self.answers) > 200:
                    self.answers.clear()
                self.answers[key] = self.version, data
            return data

    def look(self) -> None:
        """See what is new, unless that was done just now.

        Raises:
            UsageError: the filter names a key that none of the runs has that are there by now.
        """
        if time.monotonic() - self.looked > FRESH:
            before = self.results.damaged, states(self.results)
            try:
                changed = self.results.refresh()
            except UsageError:
                self.version += 1  # pages ask again, and show it
                raise
            self.version += bool(changed or before != (self.results.damaged, states(self.results)))
            self.looked = time.monotonic()

    def file(self, query: Query) -> Path | None:
        """A file of a run's directory that a browser may ask for: a video."""
        with self.lock:
            try:
                folder = Path(views.row_of(self.results, query.get("id", ""))["path"]).resolve()
            except UsageError:
                return None
        path = (folder / query.get("name", "")).resolve()
        return path if path.is_relative_to(folder) and path.suffix in views.VIDEOS and path.is_file() else None


def states(results: Results) -> list[str]:
    """A run that falls silent is lost without a change to any file."""
    return results.runs["state"].to_list()


def words_of(query: Query) -> list[str]:
    """The words of the filter; a list in brackets is one, blanks and all."""
    return re.findall(r"(?:\[[^]]*\]|\S)+", query.get("q", ""))


def listed(query: Query, key: str) -> list[str]:
    return [word for word in query.get(key, "").split(",") if word]


def portion(header: str, size: int) -> range | None:
    """The bytes that a Range header asks for (RFC 9110, 14.1.2), empty where there are none of these.

    None stands for the whole: there is no header, or one that is not of one part.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


class Handler(BaseHTTPRequestHandler):
    """Answers to GET alone."""

    protocol_version = "HTTP/1.1"
    site: Site

    def handle(self) -> None:
        with suppress(ConnectionError):  # a browser may leave before it has the answer
            super().handle()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        if self.headers.get("Host", "").rpartition(":")[0] not in NAMES:
            self.send_error(403, "this server answers on this machine alone")
        elif url.path in PAGES:
            self.reply(page(PAGES[url.path]), mimetypes.guess_type(PAGES[url.path])[0] or "")
        elif url.path == "/plotly.js":
            self.reply(plotly(), "text/javascript", "max-age=86400")
        elif url.path in self.site.routes:
            try:
                data = self.site.answer(url.path, query)
            except KeyError as error:
                self.send_error(400, f"{url.path} needs {error}")
            else:
                self.reply(data, "application/json")
        elif url.path == "/file" and (path := self.site.file(query)):
            self.send_file(path)
        else:
            self.send_error(404)

    def reply(self, data: bytes, kind: str, caching: str = "no-store") -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", caching)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'none'",
        )
        self.end_headers()
        self.wfile.write(data)

    def send_file(self, path: Path) -> None:
        """A video, in the part that the browser asks for."""
        size = path.stat().st_size
        part = portion(self.headers.get("Range", ""), size)
        asked = range(size) if part is None else part
        with path.open("rb") as file:
            file.seek(asked.start)
            data = file.read(len(asked))
        self.send_response(200 if part is None else 206 if part else 416)
        self.send_header("Content-Type", mimetypes.guess_type(path.name)[0] or "application/octet-stream")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        if part is not None:
            self.send_header("Content-Range", f"bytes {part[0]}-{part[-1]}/{size}" if part else f"bytes */{size}")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing: a terminal full of requests helps nobody."""


@cache
def page(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


@cache
def plotly() -> bytes:
    """The drawing library that the plotly package carries.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    except ImportError as error:
        raise UsageError("the dashboard needs plotly: pip install 'rlbench[dashboard]'") from error


def serve(root: Path, words: Sequence[str], port: int) -> ThreadingHTTPServer:
    """A server that is ready to `serve_forever`.

    Args:
        root: the results folder.
        words: the runs that are shown.
        port: where it listens; 0: wherever there is room.

    Raises:
        UsageError: the port is taken or none, plotly is not installed, or the filter names a key that no run has.
    """
    if not 0 <= port < 1 << 16:
        raise UsageError(f"--port {port}: from 0 to {(1 << 16) - 1}; 0 takes one that is free")
    plotly()
    site = Site(root, words)
    with site.lock:
        site.look()
    handler = type("SiteHandler", (Handler,), {"site": site})
    try:
        server = ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror}\n--port 0 takes one that is free") from error
    server.daemon_threads = True
    return server
