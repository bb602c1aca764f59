"""`rlbench bench`: what a run costs, phase by phase, and how near that is to what the machine can do."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from rlbench.cli import Parser, Request, cells
from rlbench.errors import UsageError
from rlbench.run import CHECKPOINT_SHARE, Training, to_host
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
COUNTED = 4  # updates whose operations are counted: a multiple of most periods in the algorithms, and see `operations`
SAMPLED = 3200  # minibatches drawn to time one
SQUARE = {"cpu": 256, "cuda": 4096}  # side of the matrices whose product measures the machine


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
        training = Training(cfg, [], directory, path, stop, progress)
        began = time.process_time()
        training.prepare()
        build = time.process_time() - began
        facts = directory.meta()
        return {
            "algorithm": path_of(cfg),
            "seeds": cfg.seeds,
            **{key: facts[key] for key in ("device", "threads", "matmul", "compiled")},
            "build_seconds": build,
            **Bench(training, seconds, rounds).phases(),
            "machine": facts["machine"],
            "versions": facts["versions"],
        }


def path_of(cfg: DictConfig) -> str:
    """Algorithm, and what it is built on."""
    return cfg.algo.name + (f"-{cfg.algo.base.name}" if "base" in cfg.algo else "")


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
        facts = training.directory.meta()
        self.device: str = facts["device"]
        self.compiled: bool = facts["compiled"]
        self.clock: Callable[[], float] = time.process_time if self.device == "cpu" else time.perf_counter

    def phases(self) -> dict[str, Any]:
        self.capture(eager=True)  # what is in compiled graphs cannot be counted
        self.algorithm.train(getattr(self.algorithm, "start_steps", 0) + COUNTED)  # past what is only done at first
        operations = self.operations()
        self.capture(eager=False)
        self.algorithm.train(COUNTED)
        update, units = self.updates()
        loop, log, checkpoint = self.loop(units)
        lengths: list[float] = []
        evaluate = self.seconds(lambda: lengths.extend(map(float, self.algorithm.evaluate().get("eval/length", []))))
        one = update["median"]
        found: dict[str, Any] = {
            "update_seconds": update,
            "updates_per_second": 1 / one,
            "seed_updates_per_second": self.cfg.seeds / one,
            "evaluate_seconds": evaluate,
            "evaluate_length": statistics.mean(lengths) if lengths else None,
            "log_seconds": log,
            "checkpoint_seconds": checkpoint,
            "share_of_the_update": {"loop": loop / one},
        }
        share = found["share_of_the_update"]
        if hasattr(self.algorithm, "next_batch"):
            found["sample_seconds"] = self.seconds(self.algorithm.next_batch, SAMPLED)
            share["sample"] = found["sample_seconds"] / one
        share["evaluate"] = evaluate / (self.cfg.eval.every * one)
        share["log"] = log / (self.cfg.log.every * one)
        pause = max(self.cfg.checkpoint.every_seconds, checkpoint / CHECKPOINT_SHARE)
        share["checkpoint"] = checkpoint / pause
        if operations:
            limit = self.limit()
            found |= {
                "gflop_per_update": operations / 1e9,
                "gflop_per_second": operations / 1e9 / one,
                "limit_gflop_per_second": limit,
                "share_of_the_limit": operations / 1e9 / one / limit,
            }
        return found

    def capture(self, *, eager: bool) -> None:
        """Have updates run as at first, or as they do in the long run."""
        from rlbench.build import Capturable
        from rlbench.nets.capture import EAGER_UPDATES

        if isinstance(self.algorithm, Capturable):
            after = EAGER_UPDATES if eager else 0
            self.algorithm.capture(compiled=self.compiled and not eager, after=after, say=self.training.say)

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
        while (spent := self.seconds(partial(self.algorithm.train, units))) < self.budget / 2:
            units *= 2
        units = max(1, round(units * self.budget / spent))
        each = [self.seconds(partial(self.algorithm.train, units)) / units for _ in range(self.rounds)]
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
        training.steps = 3 * units
        begun = self.clock()
        while training.step < training.steps:
            training.advance()
        around = (self.clock() - begun - inside) / training.steps
        setattr(self.algorithm, "train", train)  # noqa: B010

        metrics = train(1)

        def log() -> None:
            values = to_host(metrics)
            training.directory.append(
                [
                    {"step": training.step, "seed": seed, **{name: value[place] for name, value in values.items()}}
                    for place, seed in enumerate(training.seeds)
                ]
            )

        return around, self.seconds(log, 20), self.seconds(training.checkpoint)

    def operations(self) -> float:
        """Floating-point operations of one update, matrix products alone; 0: they cannot be counted."""
        from torch.utils.flop_counter import FlopCounterMode

        units = math.lcm(COUNTED, getattr(self.algorithm, "train_every", 1))  # whole rounds of what waits for its turn
        with FlopCounterMode(display=False) as counter:
            self.algorithm.train(units)
        return counter.get_total_flops() / units

    def limit(self) -> float:
        """GFLOP/s of float32 matrix products by the library that the run uses: the best of many."""
        import torch

        from rlbench.nets.mlp import linear

        generator = torch.Generator(self.device).manual_seed(0)
        side = SQUARE[self.device]
        a, b = (torch.randn(8, side, side, generator=generator, device=self.device) for _ in range(2))
        bias = torch.zeros(8, 1, side, device=self.device)
        best = min(self.seconds(lambda: linear(a, b, bias), 2) for _ in range(100))
        return 2 * len(a) * side**3 / best / 1e9


def readable(found: dict[str, Any]) -> str:
    update, share = found["update_seconds"], found["share_of_the_update"]

    def line(name: str, seconds: float, note: str) -> str:
        return f"  {name:<11}{1e6 * seconds:14,.1f} us  {note}"

    lines = [
        f"{found['algorithm']}, {found['seeds']} seed{'s' * (found['seeds'] > 1)}, {found['device']}, "
        f"{found['threads']} thread{'s' * (found['threads'] > 1)}, matmul {found['matmul']}"
        + (", compiled" if found["compiled"] else ""),
        line("update", update["median"], f"{found['updates_per_second']:,.1f} a second, "
             f"quartiles {1e6 * update['low']:,.1f} to {1e6 * update['high']:,.1f} us"),
    ]  # fmt: skip
    if "sample_seconds" in found:
        lines.append(line("sample", found["sample_seconds"], f"{share['sample']:.1%} of the update"))
    of = {name: f"{share[name]:.1%} of a run" for name in ("evaluate", "log", "checkpoint")}
    if found["evaluate_length"] is not None:
        of["evaluate"] += f", episodes of {found['evaluate_length']:.0f} steps"
    lines += [line(name, found[f"{name}_seconds"], note) for name, note in of.items()]
    lines.append(f"  the run's loop adds {share['loop']:.1%}")
    if "gflop_per_update" in found:
        lines.append(
            f"  {found['gflop_per_update']:.3f} GFLOP an update, {found['gflop_per_second']:.0f} GFLOP/s: "
            f"{found['share_of_the_limit']:.0%} of the {found['limit_gflop_per_second']:.0f} of this machine in float32"
        )
    return "\n".join(lines)
