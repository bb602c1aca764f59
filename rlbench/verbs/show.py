"""`rlbench show RUN`: one run's state, scores, settings and files."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rlbench.cli import Parser
from rlbench.files import parse_yaml
from rlbench.paths import results_root
from rlbench.tracking.progress import result
from rlbench.tracking.rundir import resolve

HELP = """\
Show one run: state, last scores, configuration and files."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("show", HELP)
    parser.add_argument("run", metavar="RUN", help="first digits of its id, or its directory")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(argv)

    run = resolve(given.run, results_root())
    status, score = run.status(), run.score()
    files = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    if given.json:
        last = None if score is None else {"metric": score.metric, "step": score.step, "values": score.values}
        config = parse_yaml(run.config())
        print(json.dumps({"id": run.id, "path": str(run.path), "status": status, "score": last, "meta": run.meta(),
                          "config": config, "files": files}, indent=1))  # fmt: skip
        return 0
    print(f"{run.id}: {status['state']}" + (f" ({status['stage']})" if status["state"] == "running" else ""))
    if status.get("error"):
        print(status["error"])
    if status["state"] in ("running", "building"):
        print(f"process {status['pid']} on {status['host']}")
    print(result(run))
    print(f"\nconfig.yaml\n{run.config().rstrip()}\n\nfiles")
    for name in files:
        print(f"  {name}")
    return 0
