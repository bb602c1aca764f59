"""Files from the network: resumed where they stopped, checked, and in their place only when they are whole.

What has arrived lies in `<path>.partial`, and in `<path>.partial.json` from where it came.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, getproxies, proxy_bypass, urlopen

from filelock import FileLock

from rlbench.data.behaviour import file_hash
from rlbench.errors import RunError
from rlbench.files import write_atomically

if TYPE_CHECKING:
    from rlbench.data.store import Progress

CONNECT = 1.5
"""Seconds within which a server must answer a connection, all mirrors together: who is offline is told at once."""
STALL = 20.0
"""Seconds without a byte after which a transfer is given up."""
PAUSE = 1.0
"""Seconds before mirrors are asked again."""
BLOCK = 1 << 20


class RefusedError(Exception):
    """A server does not have what is wanted: asking it again is of no use."""


def fetch(
    urls: Sequence[str],
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
    hint: str = "",
) -> Path:
    """The file at `path`, downloaded if it is not there; while one process does, others that want it wait.

    Args:
        urls: addresses of the same file, the best first. A server that fails is asked again as long as bytes arrive.
        path: where the file is to be.
        size: its bytes, if known.
        sha256: its checksum in hex, if known.
        progress: told the bytes that have arrived, and how many there are.
        hint: ends the message where nothing could be fetched: what else works.

    Raises:
        RunError: no server gave the file, or it cannot be written.
    """
    if path.is_file():
        return path
    download = Download(path, size, sha256, progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            failures = {} if path.is_file() or download.finish() else from_mirrors(download, urls)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    if failures:
        reasons = "; ".join(f"{url}: {why}" for url, why in failures.items())
        raise RunError(f"cannot fetch {path.name} ({reasons})\nput the file at {path}{hint}")
    return path


def from_mirrors(download: Download, urls: Sequence[str]) -> dict[str, str]:
    """Download from the first address that gives the file; else why each did not."""
    failures = unreachable(urls)
    left = [url for url in urls if url not in failures]
    while left:
        before = download.have
        for url in list(left):
            try:
                download.attempt(url)
            except RefusedError as refusal:
                failures[url] = str(refusal)
                left.remove(url)
            except (OSError, HTTPException) as error:
                failures[url] = reason(error)
            else:
                return {}
        if download.have <= before:
            break
        time.sleep(PAUSE)
    return failures


def unreachable(urls: Sequence[str]) -> dict[str, str]:
    """Which addresses' servers cannot be connected to, and why.

    Asked in threads that are left behind: looking up a name can take long, and nothing ends it.
    """
    answers: dict[tuple[str, int], str] = {}

    def ask(place: tuple[str, int]) -> None:
        try:
            socket.create_connection(place, CONNECT).close()
            answers[place] = ""
        except TimeoutError:
            pass  # as if it had never answered
        except OSError as error:
            answers[place] = reason(error)

    places = {url: server(url) for url in urls}
    threads = [threading.Thread(target=ask, args=(place,), daemon=True) for place in set(places.values())]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + CONNECT
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    silent = f"no connection within {CONNECT:g} s"
    return {url: why for url, place in places.items() if (why := answers.get(place, silent))}


def server(url: str) -> tuple[str, int]:
    """Host and port that an address is asked of: its own, or those of the proxy that the user has set."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and parts.hostname and not proxy_bypass(parts.hostname):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}", "http")
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def reason(error: Exception) -> str:
    """What went wrong, in a few words."""
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    if isinstance(cause, HTTPError):
        return f"HTTP {cause.code} {cause.reason}"
    if isinstance(cause, TimeoutError):
        return f"not a byte for {STALL:g} s"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


class Download:
    """What there is of a file, and how more of it is got.

    Args: as those of `fetch`.
    """

    def __init__(self, path: Path, size: int | None, sha256: str | None, progress: Progress | None) -> None:
        self.path, self.size, self.sha256, self.progress = path, size, sha256, progress
        self.partial = path.with_name(path.name + ".partial")
        self.note = path.with_name(path.name + ".partial.json")

    @property
    def have(self) -> int:
        """Bytes that have arrived."""
        return self.partial.stat().st_size if self.partial.exists() else 0

    def attempt(self, url: str) -> None:
        """Get the file, or the rest of it, from an address.

        Raises:
            RefusedError: it does not have it.
            OSError, HTTPException: the transfer broke off; what arrived is kept.
            RunError: the disk took no more.
        """
        resumed, headers = self.have, {"User-Agent": "rlbench", "Accept-Encoding": "identity"}
        if resumed:
            validator = self.validator(url)
            if validator is None:
                resumed = 0
            else:
                headers |= {"Range": f"bytes={resumed}-"} | ({"If-Range": validator} if validator else {})
        try:
            response = urlopen(Request(url, headers=headers), timeout=STALL)
        except HTTPError as error:
            error.close()
            if error.code == 416 and resumed:
                self.discard()
                return self.attempt(url)
            if 400 <= error.code < 500 and error.code not in (408, 429):
                raise RefusedError(reason(error)) from error
            raise
        with response:
            if response.headers.get_content_type() == "text/html":
                raise RefusedError("it sent a web page instead of the file")
            if resumed and response.status == 206:
                first, total = content_range(response)
                if first != resumed:
                    raise RefusedError(f"it sent from byte {first} where {resumed} was asked for")
            else:
                resumed, total = 0, response.length
            if self.size and total is not None:
                self.check_size(total)
            if not resumed:
                self.discard()
                origin = {"url": url, "validator": strong_validator(response), "size": total}
                write_atomically(self.note, json.dumps(origin))
            self.receive(response, self.size if total is None else total)
        try:
            self.check()
        except RefusedError:
            self.discard()
            if not resumed:
                raise
            return self.attempt(url)  # the rest may have been another file's
        self.place()
        return None

    def validator(self, url: str) -> str | None:
        """What makes sure that a server resumes the file that was begun; None: do not resume.

        Empty where only the checksum can tell: at another server, or at one that names no validator.
        """
        origin = self.origin()
        if origin.get("url") == url and origin.get("validator"):
            return str(origin["validator"])
        return "" if self.sha256 else None

    def origin(self) -> dict[str, Any]:
        """Where what arrived came from: url, validator, size of the whole; empty where that is not known."""
        try:
            return dict(json.loads(self.note.read_text()))
        except (OSError, ValueError, TypeError):
            return {}

    def receive(self, response: HTTPResponse, total: int | None) -> None:
        """Append what the server sends; every byte that arrived is in the file."""
        have, told = self.have, 0.0
        with self.partial.open("ab", buffering=0) as file:
            while block := response.read1(BLOCK):
                rest = memoryview(block)
                while rest:
                    try:
                        rest = rest[file.write(rest) :]
                    except OSError as error:
                        raise RunError(f"cannot write {self.partial}: {error.strerror}") from error
                have += len(block)
                if self.progress is not None and (time.monotonic() - told > 0.1 or have == total):
                    told = time.monotonic()
                    self.progress(f"downloading {self.path.name}", have, total or have)
            os.fsync(file.fileno())
        if total is not None and have < total:
            raise ConnectionError(f"the transfer ended after {have:,} of {total:,} bytes")

    def finish(self) -> bool:
        """Put a file in place whose last byte arrived before its process ended; whether there was one."""
        if not self.have or self.have != (self.size or self.origin().get("size")):
            return False
        try:
            self.check()
        except RefusedError:
            self.discard()
            return False
        self.place()
        return True

    def check(self) -> None:
        """Hold what arrived against size and checksum.

        Raises:
            RefusedError: it is something else.
        """
        self.check_size(self.have)
        if self.sha256 and (found := file_hash(self.partial)) != self.sha256:
            raise RefusedError(f"its file was altered (sha256 {found[:12]}…, not {self.sha256[:12]}…)")

    def check_size(self, size: int) -> None:
        if not size or (self.size and size != self.size):
            wanted = f" of {self.size:,}" if self.size else ""
            raise RefusedError(f"its file has {size:,} bytes{wanted}: cut short or another one")

    def place(self) -> None:
        self.partial.replace(self.path)
        self.note.unlink(missing_ok=True)

    def discard(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def content_range(response: HTTPResponse) -> tuple[int, int | None]:
    """First byte and size of the whole file, of a partial answer."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None:
        raise RefusedError("it sent a part of the file without saying which")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def strong_validator(response: HTTPResponse) -> str:
    """What `If-Range` can hold of an answer: its ETag, else its date; empty where there is neither."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
