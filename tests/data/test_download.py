"""Downloads from a real server on this machine, in every way in which they can go wrong."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlbench.data import download
from rlbench.errors import RunError
from tests.processes import wait_for

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KNOWN: dict[str, Any] = {"size": len(CONTENT), "sha256": SHA256}


class Handler(BaseHTTPRequestHandler):
    """Serves `CONTENT`; the address says how."""

    server: Server

    def do_GET(self) -> None:
        how = self.path.strip("/").partition("/")[0]
        range_header = self.headers.get("Range")
        self.server.asked.append((how, range_header))
        if how.isdigit():
            return self.send_error(int(how))
        content, tag, first = self.server.content, self.server.tag, 0
        if how == "altered":
            content = content[:-1] + b"!"
        if how == "short":
            content = content[:-1000]
        if how == "empty":
            content = b""
        resumes = range_header is not None and how != "plain" and self.headers.get("If-Range", tag) == tag
        if resumes:
            first = int(re.fullmatch(r"bytes=(\d+)-", range_header or "")[1])  # type: ignore[index]
            if first >= len(content):
                return self.send_error(416)
        self.send_response(206 if resumes else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("Content-Type", "text/html" if how == "page" else "application/octet-stream")
        if how != "untagged":
            self.send_header("ETag", tag)
        if resumes:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.send_body(how, content[first:])
        return None

    def send_body(self, how: str, body: bytes) -> None:
        try:
            if how in ("cut", "stall", "untagged"):
                self.wfile.write(body[: min(1_000_000, len(body))])
                if how == "stall" and len(body) > 1_000_000:
                    self.server.over.wait(30)
            elif how == "slow":
                for i in range(0, len(body), 30_000):
                    self.wfile.write(body[i : i + 30_000])
                    time.sleep(0.02)
            else:
                self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """Args: none. `asked` are the requests so far, as (how, Range)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag = CONTENT, '"one"'
        self.asked: list[tuple[str, str | None]] = []
        self.over = threading.Event()

    def url(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{how}/file.hdf5"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "STALL", 1.5)  # a busy machine is no stalled server
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.over.set()
        running.shutdown()


def left_over(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir() if each not in (path, Path(f"{path}.lock")))


def test_a_file_arrives_whole_and_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    path, told = tmp_path / "new" / "file.hdf5", []
    fetched = download.fetch([server.url("whole")], path, **KNOWN, progress=lambda *each: told.append(each))
    assert fetched == path
    assert path.read_bytes() == CONTENT
    assert told[-1] == ("downloading file.hdf5", len(CONTENT), len(CONTENT))
    assert left_over(path) == []
    download.fetch([server.url("whole")], path, **KNOWN)
    assert len(server.asked) == 1


@pytest.mark.parametrize("known", [KNOWN, {}])
@pytest.mark.parametrize("how", ["cut", "stall"])
def test_a_transfer_that_breaks_off_is_resumed(how: str, known: dict[str, Any], server: Server, tmp_path: Path) -> None:
    path = download.fetch([server.url(how)], tmp_path / "file.hdf5", **known)
    assert path.read_bytes() == CONTENT
    assert [each for _, each in server.asked] == [None, "bytes=1000000-", "bytes=2000000-"]
    assert left_over(path) == []


def begin(server: Server, path: Path, known: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A process that downloads, slowly."""
    code = (
        "from pathlib import Path; from rlbench.data import download; "
        f"download.fetch([{server.url('slow')!r}], Path({str(path)!r}), **{known!r})"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("known", [KNOWN, {}])
def test_nothing_is_lost_when_a_process_is_killed(known: dict[str, Any], server: Server, tmp_path: Path) -> None:
    path, partial = tmp_path / "file.hdf5", tmp_path / "file.hdf5.partial"
    process = begin(server, path, known)
    wait_for(lambda: partial.exists() and partial.stat().st_size >= 500_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()
    have = partial.stat().st_size
    assert partial.read_bytes() == CONTENT[:have]
    download.fetch([server.url("slow")], path, **known)
    assert path.read_bytes() == CONTENT
    assert [each for _, each in server.asked] == [None, f"bytes={have}-"]


@pytest.mark.parametrize("known", [KNOWN, {}])
def test_a_process_killed_after_the_last_byte_needs_no_server(known: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file.hdf5.partial").write_bytes(CONTENT)
    (tmp_path / "file.hdf5.partial.json").write_text(f'{{"url": "x", "validator": "", "size": {len(CONTENT)}}}')
    path = download.fetch(["http://127.0.0.1:9/"], tmp_path / "file.hdf5", **known)
    assert path.read_bytes() == CONTENT


def test_two_processes_at_once_download_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.hdf5"
    processes = [begin(server, path, KNOWN) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1


def begun(path: Path, url: str, validator: str = '"one"', content: bytes = CONTENT[:1_000_000]) -> Path:
    """As a killed process leaves it."""
    Path(f"{path}.partial").write_bytes(content)
    Path(f"{path}.partial.json").write_text(json.dumps({"url": url, "validator": validator, "size": len(CONTENT)}))
    return path


@pytest.mark.parametrize("known", [KNOWN, {}])
def test_a_server_that_cannot_resume_starts_over(known: dict[str, Any], server: Server, tmp_path: Path) -> None:
    path = begun(tmp_path / "file.hdf5", server.url("plain"))
    assert download.fetch([server.url("plain")], path, **known).read_bytes() == CONTENT
    assert server.asked == [("plain", "bytes=1000000-")]


def test_a_file_that_changed_meanwhile_is_not_mixed(server: Server, tmp_path: Path) -> None:
    path = begun(tmp_path / "file.hdf5", server.url("whole"))
    server.content, server.tag = bytes(reversed(CONTENT)), '"two"'
    assert download.fetch([server.url("whole")], path).read_bytes() == server.content


def test_without_validator_and_checksum_nothing_is_resumed(server: Server, tmp_path: Path) -> None:
    path = begun(tmp_path / "file.hdf5", server.url("whole"), validator="")
    assert download.fetch([server.url("whole")], path).read_bytes() == CONTENT
    path = begun(tmp_path / "other.hdf5", server.url("cut"))
    assert download.fetch([server.url("whole")], path).read_bytes() == CONTENT
    assert [each for _, each in server.asked] == [None, None]
    path = begun(tmp_path / "third.hdf5", server.url("cut"))
    assert download.fetch([server.url("whole")], path, **KNOWN).read_bytes() == CONTENT
    assert server.asked[-1] == ("whole", "bytes=1000000-")


@pytest.mark.parametrize("content", [b"x" * 1_000_000, b"x" * len(CONTENT), CONTENT + b"more"])
def test_a_beginning_that_is_wrong_is_thrown_away(content: bytes, server: Server, tmp_path: Path) -> None:
    path = begun(tmp_path / "file.hdf5", server.url("whole"), content=content)
    assert download.fetch([server.url("whole")], path, **KNOWN).read_bytes() == CONTENT


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "403": ({}, "HTTP 403 Forbidden"),
    "404": ({}, "HTTP 404 Not Found"),
    "503": ({}, "HTTP 503 Service Unavailable"),
    "short": (KNOWN, "its file has 2,999,000 bytes of 3,000,000: cut short or another one"),
    "empty": ({}, "its file has 0 bytes"),
    "altered": (KNOWN, r"its file was altered \(sha256 .*…, not .*…\)"),
    "page": ({}, "it sent a web page"),
    "untagged": ({}, "the transfer ended after 1,000,000 of 3,000,000 bytes"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_a_server_does_wrong_is_said_in_one_line(how: str, server: Server, tmp_path: Path) -> None:
    known, message = REFUSED[how]
    path = tmp_path / "file.hdf5"
    with pytest.raises(RunError, match=message) as error:
        download.fetch([server.url(how)], path, **known, hint=" yourself, or do without")
    first, second = str(error.value).split("\n")
    assert server.url(how) in first
    assert second == f"put the file at {path} yourself, or do without"
    assert not path.exists()


@pytest.mark.parametrize("how", [how for how in REFUSED if how != "untagged"] + ["stall"])
def test_the_second_mirror_takes_over(how: str, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.hdf5"
    download.fetch([server.url(how), server.url("whole")], path, **KNOWN)
    assert path.read_bytes() == CONTENT
    if how == "stall":
        assert server.asked == [("stall", None), ("whole", "bytes=1000000-")]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that lets nobody in: its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/file.hdf5"


def test_without_a_network_it_ends_soon(silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    look_up = socket.getaddrinfo

    def slow_names(host: str, *rest: Any, **options: Any) -> Any:
        if host == "far.example":
            time.sleep(5)
        return look_up(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow_names)
    began = time.monotonic()
    urls = [silent, "http://far.example/file.hdf5", "http://127.0.0.1:9/file.hdf5"]
    with pytest.raises(RunError, match=r"no connection within .*no connection within .*Connection refused"):
        download.fetch(urls, tmp_path / "file.hdf5")
    assert time.monotonic() - began < 3


OFFLINE = {
    "d4rl/hopper-medium-v2": ("http://rail.eecs.berkeley.edu/", "put the file at {cache}/d4rl/hopper_medium-v2.hdf5"),
    "minari/mujoco/hopper/medium-v0": ("https://huggingface.co/", "put its folder at {minari}/mujoco/hopper/medium-v0"),
    "ogbench/cube-single-play-singletask-v0": (
        "https://rail.eecs.berkeley.edu/",
        "put the file at {cache}/ogbench/cube-single-play-v0.npz",
    ),
}


@pytest.mark.parametrize("name", OFFLINE)
def test_a_run_without_a_network_ends_within_three_seconds(name: str, silent: str, tmp_path: Path) -> None:
    """Of which the wait for the network is one part, and what the machine computes the other."""
    source, package = name.partition("/")[0], {"minari": "huggingface_hub"}
    if source != "d4rl" and find_spec(package.get(source, source)) is None:
        pytest.skip(f"without the extra {source} the answer is another")
    places = {"cache": tmp_path / "cache", "minari": tmp_path / "minari"}
    proxy = silent.rpartition("/")[0]
    env = os.environ | {
        "HOME": str(tmp_path),
        "RLBENCH_CACHE": str(places["cache"]),
        "RLBENCH_RESULTS": str(tmp_path / "results"),
        "MINARI_DATASETS_PATH": str(places["minari"]),
        "no_proxy": "",
        "http_proxy": proxy,
        "https_proxy": proxy,
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "rlbench", "algo=bc", f"dataset={name}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 1
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime + download.CONNECT < 3
    first, second = done.stderr.strip().split("\n")
    address, place = OFFLINE[name]
    assert address in first
    assert "no connection within" in first
    assert second.startswith(place.format(**places))
    assert second.endswith("env=hopper dataset=medium")


def test_a_mirror_that_cannot_be_reached_is_passed_over(silent: str, server: Server, tmp_path: Path) -> None:
    path = download.fetch([silent, server.url("whole")], tmp_path / "file.hdf5", **KNOWN)
    assert path.read_bytes() == CONTENT


def test_the_proxy_that_the_user_set_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "near.example")
    assert download.server("http://far.example/x") == ("proxy.example", 3128)
    assert download.server("http://near.example/x") == ("near.example", 80)
    assert download.server("https://near.example/x") == ("near.example", 443)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        download.fetch(["http://127.0.0.1:9/"], tmp_path / "file" / "x.hdf5")
