"""A W&B server for tests: the few operations that the real client needs to create, resume, fill and read a run.

It proves what the client sends and how it takes outages, not that wandb.ai would accept it.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

ENTITY = "tester"


@dataclass
class StoredRun:
    """What the server knows of one run; `history` are the rows in the order of their offsets."""

    variables: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    changed: int = 0

    @property
    def state(self) -> str:
        return "running" if self.exit_code is None else "failed" if self.exit_code else "finished"

    @property
    def config(self) -> dict[str, Any]:
        """The run's config without W&B's own entries."""
        values = json.loads(self.variables["config"])
        return {key: entry["value"] for key, entry in values.items() if key != "_wandb"}


class WandbServer:
    """Listens on 127.0.0.1 while the context is open.

    `failing = True` answers every request with 500, `refusing = 404` those that bring rows with 404.
    """

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.views: list[dict[str, Any]] = []
        self.requests = 0
        self.failing = False
        self.refusing: int | None = None
        self.port = 0
        self._http: _Listener | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._http = _Listener(("127.0.0.1", self.port), _Handler)
        self._http.wandb = self
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()

    def graphql(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer's `data` for one GraphQL operation."""
        name = variables.get("name") or variables.get("run") or ""
        if operation == "Viewer":
            viewer = {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}
            return {"viewer": viewer}
        if operation == "GetDefaultEntity":
            return {"viewer": {"id": "1", "entity": ENTITY}}
        if operation == "Runs":
            return {"project": self._page(variables)}
        if operation == "RunHistoryKeys":
            return {"project": {"run": {"historyKeys": {"lastStep": len(self.runs[name].history) - 1}}}}
        if operation == "RunParquetHistory":  # nothing was moved into files yet
            return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}
        if operation == "HistoryPage":
            rows = self.runs[name].history[variables["minStep"] : variables["maxStep"]]
            return {"project": {"run": {"history": [json.dumps(row) for row in rows]}}}
        if operation == "UpsertView2":
            self.views.append(variables)
            return {"upsertView": {"view": {"id": f"view-{len(self.views)}", "name": variables["name"]}}}
        if operation == "RunResumeStatus":
            return {"model": self._resume_status(name)}
        if operation == "UpsertBucket":
            if variables.get("groupName") and not variables.get("id"):  # begun without looking for what was there
                self.runs[name] = StoredRun()
            run = self.runs[name]
            run.variables.update({key: value for key, value in variables.items() if value is not None})
            project = {"name": variables.get("project") or "", "entity": {"name": ENTITY}}
            bucket = {
                "id": f"storage-{name}",
                "name": name,
                "displayName": run.variables.get("displayName") or name,
                "config": run.variables.get("config") or "{}",
                "historyLineCount": len(run.history),
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": not run.history}}
        if operation == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in variables.get("files", [])]
            return {"createRunFiles": {"runID": f"storage-{name}", "uploadHeaders": [], "files": files}}
        return {}

    def _page(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        """Some of a project's runs, in the order of their making, from behind the cursor."""
        asked = variables["entity"], variables["project"]
        names = [name for name, run in self.runs.items() if (ENTITY, run.variables.get("project")) == asked]
        if not names:
            return None
        start = int(variables.get("cursor") or 0)
        end = start + variables["perPage"]
        edges = [
            {"node": self._node(name), "cursor": str(start + place)}
            for place, name in enumerate(names[start:end], start=1)
        ]
        page = {"endCursor": str(end), "hasNextPage": end < len(names)}
        return {
            "internalId": "1",
            "runCount": len(names),
            "readOnly": False,
            "runs": {"edges": edges, "pageInfo": page},
        }

    def _node(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        return {
            "id": f"storage-{name}",
            "projectId": "1",
            "name": name,
            "displayName": run.variables.get("displayName"),
            "state": run.state,
            "config": run.variables.get("config") or "{}",
            "group": run.variables.get("groupName"),
            "jobType": run.variables.get("jobType"),
            "tags": run.variables.get("tags") or [],
            "createdAt": "2026-05-01T12:00:00Z",
            "heartbeatAt": f"2026-05-01T13:{run.changed // 60:02}:{run.changed % 60:02}Z",
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "historyLineCount": len(run.history),
            "readOnly": False,
            "user": {"name": ENTITY, "username": ENTITY},
            **dict.fromkeys(("sweepName", "commit", "description", "notes", "historyKeys")),
        }

    def _resume_status(self, name: str) -> dict[str, Any] | None:
        if name not in self.runs:
            return None
        run = self.runs[name]
        bucket = {
            "id": f"storage-{name}",
            "name": name,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "summaryMetrics": json.dumps(run.summary),
            "config": run.variables.get("config") or "{}",
            "tags": run.variables.get("tags") or [],
            "wandbConfig": '{"t": 1}',
        }
        return {"id": "project", "bucket": bucket}

    def stream(self, name: str, body: dict[str, Any]) -> None:
        """One request of a run's file stream: rows are put at their offset, over whatever stood there."""
        run = self.runs[name]
        run.changed += 1
        files = body.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            offset = history["offset"]
            if offset > len(run.history):
                raise ValueError(f"{name}: rows at offset {offset}, but only {len(run.history)} came before")
            run.history[offset:] = [json.loads(line) for line in history["content"]]
        if summary := files.get("wandb-summary.json"):
            run.summary = json.loads(summary["content"][-1])
        if body.get("complete"):
            run.exit_code = body.get("exitcode")


class _Listener(ThreadingHTTPServer):
    wandb: WandbServer
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error; anything else is one of ours, and is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        self.server.wandb.requests += 1
        if self.server.wandb.failing:
            return self._answer(500, {"error": "out of order"})
        if self.path == "/graphql":
            request = json.loads(body)
            named = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
            operation = request.get("operationName") or (named[1] if named else "")
            return self._answer(200, {"data": self.server.wandb.graphql(operation, request.get("variables") or {})})
        if stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            if refusal := self.server.wandb.refusing:
                return self._answer(refusal, {"error": "refused"})
            self.server.wandb.stream(stream[1], json.loads(body))
            return self._answer(200, {})
        return self._answer(404, {})

    def do_PUT(self) -> None:
        self._body()
        self._answer(500 if self.server.wandb.failing else 200, {})

    def do_GET(self) -> None:
        self._answer(404, {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(chunks)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the tests' output is theirs."""
