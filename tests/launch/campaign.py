"""Random faults over sweeps on a practice cluster, and what is left of the runs: `python -m tests.launch.campaign`.

Two sweeps are struck: snails, whose numbers have a closed form, and cloned policies, which are compared bit for bit
with undisturbed ones. Meanwhile a user asks for `rlbench resume` now and then, and an operator brings up again what has
died of the cluster. In the end every run is to be done once: none lost, none doubled, none damaged.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rlbench import cli
from rlbench.checkpoint import Checkpoints
from rlbench.conformance import same
from rlbench.errors import RunError
from rlbench.launch import slurm, start
from rlbench.launch.job import execute
from rlbench.launch.sweep import Planned, Sweep, find
from rlbench.tracking.rundir import RunDir
from tests.launch.practice import ACCOUNTING, PLAIN, Practice, free_port
from tests.launch.snail.lcg import after

ROOT = Path(__file__).parents[2]
TINY = "size=1m"  # file systems that are easily full
LOOK = 20.0  # seconds between two looks of the user
PATIENCE = 900.0  # seconds after the last fault for the runs to end

COMMON = [
    "tracking=disabled", "checkpoint.every_seconds=1", "hardware=slurm_cpu", "hardware.slurm.partition=low",
    "hardware.slurm.memory_gb=0.2", "hardware.slurm.notice=5",
]  # fmt: skip
SNAIL = ["--config-dir", str(Path(__file__).parent / "snail"), "algo=snail", "log.every=5", *COMMON]
CLONE = [
    "algo=bc", "env=disc2d", "dataset=disc", "dataset.rows=2000", "algo.hidden_dims=[16,16]", "algo.batch_size=16",
    "eval.episodes=1", "eval.every=2000", "log.every=100", *COMMON,
]  # fmt: skip


@dataclass
class Outcome:
    """What came of a campaign.

    Attributes:
        faults: how many of which kind.
        seconds: how long it took.
        runs: how many were struck.
        lives: of all of them together.
        resumes: how often the user resumed the sweeps.
        lost: runs that are not finished.
        doubled: runs that were queued more than once at a time, or have a row more than once.
        damaged: runs that differ from undisturbed ones, and how.
        stuck: jobs that never left the queue.
    """

    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    runs: int = 0
    lives: int = 0
    resumes: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.doubled or self.damaged or self.stuck)


class Campaign:
    """Faults, one after another.

    Args:
        cluster: that of `SLURM_CONF`.
        seed: of all choices.
        snails: runs of the first sweep.
        clones: runs of the second.
        steps: of a snail, a tenth of a second each; a clone has fifty times as many.
        pause: seconds between two faults, on average.
        say: told what happens.
    """

    def __init__(
        self, cluster: Practice, seed: int, snails: int, clones: int, steps: int, pause: float,
        say: Callable[[str], object],
    ) -> None:  # fmt: skip
        self.cluster = cluster
        self.random = random.Random(seed)
        self.pause = pause
        self.say = say
        self.words = {
            "snails": ["-m", *SNAIL, f"seed=range({snails})", f"steps={steps}", f"eval.every={steps}"],
            "clones": ["-m", *CLONE, f"seed=range({clones})", f"steps={50 * steps}"],
        }
        self.sweeps: list[Sweep] = []
        self.small: list[Path] = []
        """Runs that have a file system of their own."""
        self.headless = False
        """Whether there is no slurmctld."""
        self.due: list[tuple[float, Callable[[], object]]] = []
        """What is to be done later, and when."""
        self.outcome = Outcome()
        self.began = time.monotonic()
        self.kinds: dict[str, Callable[[], object]] = {
            "kill -9 of a run": self.kill_run,
            "kill -9 of slurmd": self.kill_slurmd,
            "kill -9 of slurmctld": self.kill_slurmctld,
            "node lost with all on it": self.lose_node,
            "scancel": partial(self.tell_a_job, "scancel", "{}"),
            "rlbench cancel": self.cancel,
            "scontrol requeue": partial(self.tell_a_job, "scontrol", "requeue", "{}"),
            "preemption": self.preempt,
            "time limit": partial(self.tell_a_job, "scontrol", "update", "JobId={}", "EndTime=now+30"),
            "disk full": self.fill_disk,
            "the same submit twice": self.submit_twice,
            "100 submits in one second": self.submit_a_hundred_times,
        }

    # -- the course of it ----------------------------------------------------------------------------------------------

    def run(self, faults: int) -> Outcome:
        """Strike so many times, as long as there is something to strike, and let everything come to its end."""
        with ExitStack() as stack:
            self.prepare(stack)
            waiting, user = self.chosen(faults), time.monotonic() + LOOK
            while waiting and self.unfinished():
                kind = waiting.pop()
                if not self.at_work() or (struck := self.kinds[kind]()) is None:  # nothing to strike: another time
                    waiting.insert(self.random.randrange(len(waiting) + 1), kind)
                else:
                    self.outcome.faults[kind] += 1
                    self.note(f"{self.outcome.faults.total():4} {kind}: {struck}")
                self.wait(self.random.uniform(0, 2 * self.pause))
                if time.monotonic() > user and not self.headless:
                    self.resume()
                    user = time.monotonic() + LOOK
            self.note(f"no more faults, {len(self.unfinished())} runs are not finished")
            self.finish()
            self.outcome.seconds = time.monotonic() - self.began
            self.judge()
        return self.outcome

    def note(self, text: str) -> None:
        self.say(f"{time.monotonic() - self.began:7.1f} s {text}")

    def prepare(self, stack: ExitStack) -> None:
        """A small file system for each fourth run, and all of them queued."""
        for name, words in self.words.items():
            for run in cli.cells(cli.request(words, "", ""))[::4]:
                run.directory.mkdir(parents=True)
                subprocess.run(["mount", "-t", "tmpfs", "-o", TINY, "tmpfs", run.directory], check=True)
                stack.callback(partial(subprocess.run, ["umount", "--lazy", run.directory], check=True))
                self.small.append(run.directory)
            with silence():
                assert cli.main([*words, "--name", name]) == 0
            self.sweeps.append(find(name))
        self.outcome.runs = sum(len(sweep.runs()) for sweep in self.sweeps)

    def chosen(self, faults: int) -> list[str]:
        """Kinds of faults in a random order: each at least once, those that hold everything up less often."""
        weights = {"kill -9 of slurmctld": 0.5, "the same submit twice": 0.3, "100 submits in one second": 0.2}
        kinds = list(self.kinds)
        more = self.random.choices(kinds, [weights.get(kind, 1.0) for kind in kinds], k=max(0, faults - len(kinds)))
        return self.random.sample([*kinds, *more], len(kinds) + len(more))

    def wait(self, seconds: float) -> None:
        """Let time pass, do what is due, and look whether a run is queued twice."""
        end = time.monotonic() + seconds
        while True:
            for task in [task for task in self.due if task[0] <= time.monotonic()]:
                self.due.remove(task)
                task[1]()
            with suppress(RunError):  # SLURM is slow to answer
                self.look()
            if time.monotonic() > end:
                return
            time.sleep(0.5)

    def later(self, most: float, task: Callable[[], object]) -> None:
        self.due.append((time.monotonic() + self.random.uniform(0, most), task))

    def look(self) -> None:
        if self.headless:
            return
        times: Counter[str] = Counter()
        for name, entries in slurm.squeue().items():
            if array := slurm.Array.of(name):
                paths = array.runs()
                times.update(paths[index] for index, job in entries.items() if job.state != "ended")
        self.outcome.doubled += [f"{path} is queued {n} times" for path, n in times.items() if n > 1]

    def resume(self) -> None:
        self.outcome.resumes += 1
        for sweep in self.sweeps:
            with silence():
                cli.main(["resume", sweep.name])

    def repair(self) -> None:
        """What an operator does."""
        self.cluster.up()
        self.headless = False

    def finish(self) -> None:
        """Repair everything, have nodes register anew, and resume until all is done and nothing runs."""
        end = time.monotonic() + PATIENCE
        while self.due:
            self.wait(1)
        self.repair()
        while (left := [*self.unfinished(), *self.cluster.jobs()]) and time.monotonic() < end:
            self.note(f"{len(left)} runs and jobs are left")
            # A job that ended while slurmctld was down stays RUNNING until its node registers anew, which is seldom.
            self.cluster.run("scontrol", "reconfigure")
            self.resume()
            self.wait(LOOK / 2)

    def unfinished(self) -> list[Planned]:
        return [run for sweep in self.sweeps for run in sweep.unfinished()]

    # -- the faults: what is struck, or None if there is nothing -------------------------------------------------------

    def at_work(self) -> list[Planned]:
        return [run for run in self.unfinished() if run.status().get("state") in ("building", "running")]

    def one_of(self, those: Sequence[Any]) -> Any:
        return self.random.choice(those) if those else None

    def kill_run(self) -> object:
        if (run := self.one_of(self.at_work())) is None:
            return None
        with suppress(ProcessLookupError):
            os.kill(run.status()["pid"], signal.SIGKILL)
        return run.path

    def kill_slurmd(self) -> object:
        alive = [name for name, pid in self.cluster.daemons().items() if pid and name.startswith("slurmd-")]
        if (name := self.one_of(alive)) is not None:
            self.cluster.kill(name)
            self.later(60, self.repair)  # SLURM gives a node up after half a minute
        return name

    def kill_slurmctld(self) -> object:
        if self.headless:
            return None
        self.headless = True
        self.cluster.kill("slurmctld")
        self.later(10, self.repair)
        return "slurmctld"

    def node(self) -> str:
        return str(self.one_of([name for name in self.cluster.daemons() if name.startswith("slurmd-")]))[7:]

    def lose_node(self) -> object:
        """Its power fails."""
        if self.headless:
            return None
        node = self.node()
        marks = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.cluster.conf}".encode()}
        if self.cluster.daemons()[f"slurmd-{node}"]:
            self.cluster.kill(f"slurmd-{node}")
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if marks <= set((process / "environ").read_bytes().split(b"\0")):
                    os.kill(int(process.name), signal.SIGKILL)
        self.cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=power")
        self.later(20, self.repair)
        return node

    def tell_a_job(self, *command: str) -> object:
        """One of SLURM's commands about a job that runs; it may have ended by now."""
        jobs = [] if self.headless else [job for each in slurm.squeue().values() for job in each.values()]
        job = self.one_of([job.id for job in jobs if job.reason == "RUNNING"])
        if job is not None:
            subprocess.run([word.format(job) for word in command], check=False, capture_output=True)
        return job

    def cancel(self) -> object:
        run = None if self.headless else self.one_of(self.at_work())
        if run is None:
            return None
        with silence():
            cli.main(["cancel", run.directory.name])
        return run.path

    def preempt(self) -> object:
        """Others pass on one of the nodes."""
        if self.headless or not self.at_work():
            return None
        node = self.node()
        # Lost with its node, a job that may go back to the queue would be held there for ever.
        return self.cluster.sbatch("sleep 2", "-phigh", f"-w{node}", "--exclusive", "--no-requeue") and node

    def fill_disk(self) -> object:
        """No byte more for a run, for a while."""
        run = self.one_of([run for run in self.at_work() if run.directory in self.small])
        if run is None:
            return None
        ballast = run.directory / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1000))
        self.later(10, lambda: ballast.unlink(missing_ok=True))
        return run.path

    def submit_twice(self) -> object:
        """The same command in two terminals."""
        if self.headless:
            return None
        name = self.one_of(list(self.words))
        command = [sys.executable, "-m", "rlbench", *self.words[name], "--name", name]
        both = [
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)
        ]
        return f"{name}, exit codes {[process.wait() for process in both]}"

    def submit_a_hundred_times(self) -> object:
        if self.headless:
            return None
        sweep = self.one_of(self.sweeps)
        fork = multiprocessing.get_context("fork")
        hundred = [fork.Process(target=in_silence, args=(start.proceed, sweep)) for _ in range(100)]
        for process in hundred:
            process.start()
        for process in hundred:
            process.join()
        return f"{sweep.name}, exit codes {sorted({process.exitcode for process in hundred}, key=str)}"

    # -- what is left --------------------------------------------------------------------------------------------------

    def judge(self) -> None:
        self.outcome.stuck = [f"{job}: {state}" for job, state in self.cluster.jobs().items()]
        for sweep in self.sweeps:
            for run in sweep.runs():
                if not run.finished():
                    self.outcome.lost.append(f"{run.path}: {run.status()}")
                    continue
                directory = RunDir(run.directory)
                self.outcome.lives += 1 + len(directory.meta()["resumed"])
                steps = [row["step"] for row in directory.rows()]
                if len(steps) != len(set(steps)):
                    self.outcome.doubled.append(f"{run.path}: rows more than once")
                try:
                    self.compare(sweep, run)
                except AssertionError as difference:
                    self.outcome.damaged.append(f"{run.path}: {difference}")

    def compare(self, sweep: Sweep, run: Planned) -> None:
        """Hold a run against one that nothing befell.

        Raises:
            AssertionError: they differ.
        """
        rows, state = result(run)
        if sweep.name == "snails":
            value, values = run.config["seed"], {}
            for step in range(1, run.config["steps"] + 1):
                value = after(value)
                values[step] = float(value)
            assert [row["train/value"] for row in rows] == [values[row["step"]] for row in rows]
            assert [row["step"] for row in rows] == [step for step in values if step % 5 == 0]
            assert state["values"] == [value]
            return
        place = os.environ["RLBENCH_RESULTS"]
        os.environ["RLBENCH_RESULTS"] = f"{place}/undisturbed"
        try:
            with silence():
                assert execute(sweep, run) == 0
            undisturbed = result(run)
        finally:
            os.environ["RLBENCH_RESULTS"] = place
        assert rows == undisturbed[0]
        same(state, undisturbed[1], "last states")


def result(run: Planned) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A run's rows, without what tells the time, and its last state."""
    rows = RunDir(run.directory).rows()
    state = Checkpoints(run.directory / "ckpt", keep=2).load()
    assert state is not None
    return [{k: v for k, v in row.items() if not k.startswith("time")} for row in rows], state["algorithm"]


@contextmanager
def silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        yield


def in_silence(function: Callable[..., object], *arguments: Any) -> None:
    with silence():
        function(*arguments)


def report(outcome: Outcome, command: str, flavour: str) -> str:
    """Markdown."""
    verdict = {name: getattr(outcome, name) for name in ("lost", "doubled", "damaged", "stuck")}
    lines = [
        f"## {flavour}",
        "",
        f"    {command}",
        "",
        f"{outcome.faults.total()} faults in {outcome.seconds / 60:.0f} minutes over {outcome.runs} runs, which took "
        f"{outcome.lives} lives and {outcome.resumes} times `rlbench resume`. In the end: "
        + ", ".join(f"{len(found)} {name}" for name, found in verdict.items())
        + ".",
        "",
        "| fault | times |",
        "|---|---|",
        *(f"| {kind} | {times} |" for kind, times in sorted(outcome.faults.items())),
        *(f"- {name}: {each}" for name, found in verdict.items() for each in found),
    ]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m tests.launch.campaign", description=__doc__)
    parser.add_argument("--faults", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--snails", type=int, default=96)
    parser.add_argument("--clones", type=int, default=16)
    parser.add_argument("--steps", type=int, default=600, help="of a snail: a tenth of a second each (%(default)s)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two faults (%(default)s)")
    parser.add_argument("--plain", action="store_true", help="no accounts, and SIGTERM before others pass")
    parser.add_argument("--out", type=Path, help="where the report goes, behind what is there")
    asked = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="rlbench-campaign-"))
    cluster = Practice(folder / "c")
    cluster.up("--port", str(free_port()), "--nodes", "8", *(PLAIN if asked.plain else ACCOUNTING))
    os.environ |= {"SLURM_CONF": str(cluster.conf), "RLBENCH_RESULTS": str(folder / "results"), "OMP_NUM_THREADS": "1"}
    sizes = asked.snails, asked.clones, asked.steps, asked.pause
    try:
        outcome = Campaign(cluster, asked.seed, *sizes, say=partial(print, flush=True)).run(asked.faults)
    finally:
        cluster.down()
    flavour = "No accounts, SIGTERM" if asked.plain else "Accounts, user signal"
    text = report(outcome, f"python -m tests.launch.campaign {' '.join(argv)}", flavour)
    sys.stdout.write(text)
    if asked.out:
        with asked.out.open("a") as file:
            file.write(f"\n{text}")
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
