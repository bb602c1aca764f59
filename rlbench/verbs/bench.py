"""`rlbench bench`: what a run costs, phase by phase, and how near that is to what the machine can do."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from rlbench.cli import Parser, Request, cells
from rlbench.errors import UsageError
from rlbench.run import Training, to_host
from rlbench.signals import Stop
from rlbench.tracking import meta
from rlbench.tracking.progress import Progress
from rlbench.tracking.rundir import RunDir

if TYPE_CHECKING:
    import torch

TEXT = """\
Measure a run without keeping it: the update and the phases around it (sample, evaluate, log, checkpoint, the loop
itself), in seconds of the processor (on a GPU: of the clock), with the floating-point operations of an update and the
share of the machine's float32 rate that it reaches. Takes what a run takes."""
COUNTED = 4  # updates whose operations are counted: a multiple of every period in the algorithms
SQUARE = 256  # side of the matrices whose product measures the machine


def main(argv: Sequence[str]) -> int:
    parser = Parser("bench", TEXT)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="a folder of your own choices")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of training, in all (default: 5)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="to take the median of (default: 7)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.read(argv)
    if given.seconds <= 0 or given.rounds < 2:
        raise UsageError("--seconds must be positive, and --rounds at least 2")
    asked = Request(given.overrides, given.config_dir, multirun=False, name=None, config_only=False, json=given.json)
    cfg = OmegaConf.create(cells(asked)[0].config)
    found = measure(cfg, given.seconds, given.rounds)
    print(json.dumps(found, indent=1) if given.json else readable(found))
    return 0


def measure(cfg: DictConfig, seconds: float, rounds: int) -> dict[str, Any]:
    """Everything that `bench` knows of a run."""
    cfg = OmegaConf.merge(cfg, {"wandb": {"mode": "disabled"}, "rerun": False})  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder, Stop() as stop, Progress(f"bench {cfg.algo.name}") as progress:
        path = Path(folder) / "run"
        directory = RunDir.create(path, OmegaConf.to_yaml(cfg, resolve=True), [], meta.describe())
        training = Training(cfg, directory, path, stop, progress)
        began = time.process_time()
        training.prepare()
        build = time.process_time() - began
        return {"config": {"algo": cfg.algo.name, "seeds": cfg.seeds, "device": cfg.hardware.device}} | {
            "build_seconds": build,
            **Bench(training, seconds, rounds).phases(),
            "machine": meta.describe()["machine"] | {key: directory.meta()[key] for key in ("matmul", "threads")},
            "versions": meta.versions(),
        }


class Bench:
    """Measures a run that has been built.

    Args:
        training: the run, in a directory that will be thrown away.
        seconds, rounds: how long the updates are measured, and in how many pieces.
    """

    def __init__(self, training: Training, seconds: float, rounds: int) -> None:
        self.training, self.cfg, self.algorithm = training, training.cfg, training.algorithm
        self.rounds = rounds
        self.budget = seconds / rounds
        on_gpu = training.cfg.hardware.device == "cuda"
        self.clock: Callable[[], float] = time.perf_counter if on_gpu else time.process_time

    def phases(self) -> dict[str, Any]:
        self.algorithm.train(getattr(self.algorithm, "start_steps", 0) + COUNTED)  # past what is only done at first
        operations = self.operations()
        update, units = self.updates()
        loop, log, checkpoint = self.loop(units)
        evaluate = self.seconds(lambda: self.algorithm.evaluate())
        per_update = update["median"]
        found: dict[str, Any] = {"update_seconds": update, "updates_per_second": 1 / per_update}
        found["seed_updates_per_second"] = self.cfg.seeds / per_update
        if hasattr(self.algorithm, "next_batch"):
            found["sample_seconds"] = self.seconds(self.algorithm.next_batch, 320)
        every = {"evaluate": self.cfg.eval.every, "log": self.cfg.log.every}
        found |= {"evaluate_seconds": evaluate, "log_seconds": log, "checkpoint_seconds": checkpoint}
        found["share_of_a_run"] = {
            "evaluate": evaluate / (every["evaluate"] * per_update),
            "log": log / (every["log"] * per_update),
            "checkpoint": checkpoint / self.cfg.checkpoint.every_seconds,
            "loop": loop / per_update,
        }
        if operations:
            limit = self.limit()
            found["gflop_per_update"] = operations / 1e9
            found["gflop_per_second"] = operations / 1e9 / per_update
            found["limit_gflop_per_second"] = limit
            found["share_of_the_limit"] = operations / 1e9 / per_update / limit
        return found

    def seconds(self, work: Callable[[], object], times: int = 1) -> float:
        """Seconds of one of so many repetitions."""
        self.training.wait()
        start = self.clock()
        for _ in range(times):
            work()
        self.training.wait()
        return (self.clock() - start) / times

    def updates(self) -> tuple[dict[str, float], int]:
        """Seconds of one update, median and quartiles over the rounds; and the updates of a round."""
        units = 1
        while (spent := units * self.seconds(lambda: self.algorithm.train(units))) < self.budget / 2:
            units *= 2
        units = max(1, round(units * self.budget / spent))
        each = [self.seconds(lambda: self.algorithm.train(units)) / units for _ in range(self.rounds)]
        low, median, high = statistics.quantiles(each, n=4)
        return {"median": median, "low": low, "high": high}, units

    def loop(self, units: int) -> tuple[float, float, float]:
        """What the run's own loop adds to an update; seconds of writing a row a seed, and of a checkpoint."""
        training, inside = self.training, 0.0
        train = self.algorithm.train

        def timed(n: int) -> dict[str, torch.Tensor]:
            nonlocal inside
            start = self.clock()
            metrics = train(n)
            training.wait()
            inside += self.clock() - start
            return metrics

        setattr(self.algorithm, "train", timed)  # noqa: B010 - what it is assigned to is a protocol
        training.steps = units
        begun = self.clock()
        while training.step < training.steps:
            training.advance()
        around = (self.clock() - begun - inside) / units
        setattr(self.algorithm, "train", train)  # noqa: B010

        def log() -> None:
            rows = to_host(train(0) or {"train/loss": torch_zeros(self.cfg.seeds)})
            training.directory.append(
                [
                    {"step": 0, "seed": seed, **{name: value[place] for name, value in rows.items()}}
                    for place, seed in enumerate(training.seeds)
                ]
            )

        return around, self.seconds(log, 20), self.seconds(training.checkpoint)

    def operations(self) -> float:
        """Floating-point operations of one update, matrix products alone."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.algorithm.train(COUNTED)
        return counter.get_total_flops() / COUNTED

    def limit(self) -> float:
        """GFLOP/s of float32 matrix products, the faster of the two libraries: the best of many."""
        import torch

        chosen = torch.get_float32_matmul_precision()
        generator = torch.Generator(self.cfg.hardware.device).manual_seed(0)
        a, b = (
            torch.randn(8, SQUARE, SQUARE, generator=generator, device=self.cfg.hardware.device) for _ in range(2)
        )
        best = float("inf")
        for precision in ("highest", "medium"):
            torch.set_float32_matmul_precision(precision)
            best = min(best, *(self.seconds(lambda: torch.bmm(a, b), 2) for _ in range(50)))
        torch.set_float32_matmul_precision(chosen)
        return 2 * len(a) * SQUARE**3 / best / 1e9
