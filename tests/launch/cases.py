"""Small runs, and an algorithm that dies in any way that is asked for."""

import json
from pathlib import Path
from typing import Any

from rlbench import cli
from rlbench.launch.sweep import Planned

SMALL = [
    "algo=bc", "env=disc2d", "dataset=disc", "dataset.rows=2000", "algo.hidden_dims=[16,16]", "algo.batch_size=16",
    "eval.episodes=1", "tracking=disabled",
]  # fmt: skip
SHORT = [*SMALL, "steps=60", "eval.every=30", "log.every=30"]
# Long enough to be struck in the middle: some 2,000 updates a second.
LONG = [*SMALL, "steps=5000", "eval.every=2500", "log.every=500", "checkpoint.every_seconds=0.2"]

MODULE = '''
"""An algorithm that trains nothing, says where it runs, and dies as asked."""

import json
import os
import signal
import time
from pathlib import Path


class Mortal:
    """Mortal.

    Args:
        task: the problem.
        dies: how.
        pause: seconds of a step.
    """

    def __init__(self, task, *, dies: str, pause: float) -> None:
        self.dies, self.pause, self.step = dies, pause, 0
        names = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"
        witness = {name: os.environ.get(name) for name in names} | {"pid": os.getpid(), "seeds": list(task.seeds)}
        with (Path(os.environ["RLBENCH_RESULTS"]) / "witness.jsonl").open("a") as file:
            file.write(json.dumps(witness) + "\\n")

    def train(self, n):
        for _ in range(n):
            time.sleep(self.pause)
            self.step += 1
            if self.step == 2:
                self.die()
        return {}

    def die(self):
        if self.dies == "by_exception":
            raise ArithmeticError("as asked")
        if self.dies == "by_exit":
            os._exit(7)
        if self.dies == "by_kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.dies == "never":
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, signal.SIG_IGN)
            time.sleep(1000)

    def evaluate(self):
        return {}

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]
'''


def mortal(folder: Path) -> list[str]:
    """The words that choose the algorithm; `algo.dies=` by_exception, by_exit, by_kill, never or not."""
    (folder / "conf" / "algo").mkdir(parents=True)
    (folder / "mortal_module.py").write_text(MODULE)
    (folder / "conf" / "plugins.yaml").write_text("plugins: [mortal_module]\n")
    (folder / "conf" / "algo" / "mortal.yaml").write_text(
        "defaults:\n  - override /dataset@_global_.dataset: none\n_target_: mortal_module.Mortal\nname: mortal\n"
        "about: {title: Mortal, needs: {env: control, data: none}}\nbudget: {steps: 4, eval_every: 4}\n"
        "dies: not\npause: 0.0\n"
    )
    return ["--config-dir", str(folder / "conf"), "algo=mortal", "env=disc2d", "tracking=disabled"]


def witnesses(results: Path) -> list[dict[str, Any]]:
    """Where the runs of the algorithm ran, one entry a life."""
    path = results / "witness.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def cells(*words: str) -> list[Planned]:
    """The runs that words ask for."""
    return cli.cells(cli.request(["-m", *words], "", ""))


def rows(results: Path) -> dict[int, list[dict[str, Any]]]:
    """What the runs of a results folder recorded, by seeds, without what tells the time."""
    found: dict[int, list[dict[str, Any]]] = {}
    for path in results.glob("runs/*/*/[0-9a-f]*/metrics.jsonl"):
        for line in path.read_text().splitlines():
            row = {key: value for key, value in json.loads(line).items() if not key.startswith("time")}
            found.setdefault(row["seed"], []).append(row)
    return found
