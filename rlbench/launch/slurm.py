"""A sweep on a SLURM cluster: job arrays that submitit writes, and no process of ours that stays.

A ledger in `<sweep>/jobs/` says what an array's indices mean. `<tag>.runs` is there before the array is submitted: a
line for each run, its path and, after a tab, all that the sweep planned of it. `<tag>.json` comes after, with SLURM's
number. The array is called `<sweep>.<tag>`, so SLURM itself says which runs are queued, even those of a process that
was killed while it submitted. Whoever submits or cancels looks at both under one lock: no run is queued twice.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from rlbench.errors import RunError, UsageError
from rlbench.files import write_atomically
from rlbench.launch.code import choices, freeze
from rlbench.launch.start import Hardware, Job
from rlbench.launch.sweep import Planned, Sweep
from rlbench.paths import cache_root, results_root

TURN = 300.0  # seconds to wait for others that submit or cancel
ANSWER = 60.0  # seconds for SLURM to answer
MOMENT = 2.0  # seconds for which an answer of SLURM is shown again
SETTLE = 60.0  # seconds for cancelled jobs to leave their nodes
PRIVATE = "/tmp", "/var/tmp", "/dev/shm", "/run"  # where each node of a cluster has files of its own

Queue = dict[str, dict[int, Job]]  # jobs by the names of their arrays and the indices in these
GONE = "gone from SLURM's lists"
STUCK = "launch failed requeued held", "JobHoldMaxRequeue"

# SLURM's states; in any other a job is over.
STATES: dict[str, Literal["queued", "running", "ending"]] = {
    "PENDING": "queued", "CONFIGURING": "queued", "REQUEUED": "queued", "REQUEUE_HOLD": "queued",
    "REQUEUE_FED": "queued", "RESV_DEL_HOLD": "queued", "SPECIAL_EXIT": "queued", "RUNNING": "running",
    "SUSPENDED": "running", "STOPPED": "running", "SIGNALING": "running", "STAGE_OUT": "running",
    "RESIZING": "running", "COMPLETING": "ending",
}  # fmt: skip

# What SLURM says when an array is larger than it, or an account, may have.
TOO_MANY = re.compile(r"SubmitJob|SubmitLimit|submit limit|[Ii]nvalid job array")

# Options of sbatch that the arrays depend on, and what to set instead.
OWN = {
    "array": None, "dependency": None, "error": None, "job-name": None, "open-mode": None, "output": None,
    "account": "account", "constraint": "constraint", "cpus-per-task": "cpus", "gres": "gres", "mem": "memory_gb",
    "partition": "partition", "qos": "qos", "requeue": "restarts", "no-requeue": "restarts", "signal": "notice",
    "time": "minutes",
}  # fmt: skip


# -- what start.py asks for --------------------------------------------------------------------------------------------


def workers(hardware: Hardware) -> int:
    if shutil.which("sbatch") is None:
        raise UsageError(
            "there is no SLURM on this machine (no sbatch): start this where the cluster's jobs are submitted\n"
            "hardware=local makes a queue over this machine's cores and GPUs"
        )
    asked = hardware["slurm"]
    for option in asked["extra"]:
        if option.replace("_", "-") in OWN:
            setting = OWN[option.replace("_", "-")]
            hint = f"hardware.slurm.{setting}=VALUE" if setting else "rlbench sets it itself"
            raise UsageError(f"hardware.slurm.extra.{option} cannot be set\n{hint}")
    if asked["notice"] >= 60 * asked["minutes"]:
        raise UsageError(
            f"hardware.slurm.notice={asked['notice']} (seconds) leaves nothing of "
            f"hardware.slurm.minutes={asked['minutes']}\nmake the one less, or the other more"
        )
    here = results_root().resolve()
    if any(map(here.is_relative_to, PRIVATE)) and set(sinfo("%n")) - {socket.gethostname().partition(".")[0]}:
        raise UsageError(
            f"{here} is on this machine alone, and jobs run on others\nset RLBENCH_RESULTS to a folder that all share"
        )
    return asked["at_once"] or 1


def start(sweep: Sweep) -> int:
    """Queue the unfinished runs that are neither queued nor being worked on.

    Raises:
        RunError: SLURM takes none or not all of them; the message has its own words.
    """
    runs = sweep.runs()
    with turn(), sweep.alone():
        unfinished = [run for run in runs if not run.finished()]
        found = settled(sweep, unfinished)
        if stuck := {job.id for job in [*found.values(), *own(sweep, squeue())] if is_stuck(job)}:
            slurm("scancel", *compressed(stuck))
        todo = [run for run in unfinished if not in_hand(run, found.get(run.path))]
        about = f"{sweep.name}: {len(runs)} runs, {len(runs) - len(unfinished)} finished"
        if len(todo) < len(unfinished):
            about += f", {len(unfinished) - len(todo)} queued or running already"
        if not todo:
            print(f"{about}: nothing to queue")
            return 0
        numbers = submit(sweep, todo)
    print(f"{about}, {len(todo)} queued now (SLURM's jobs {', '.join(numbers)})")
    print(f"`rlbench status {sweep.name}` shows how far; nothing needs to stay open here")
    return 0


def in_hand(run: Planned, job: Job | None) -> bool:
    """Whether a run is queued, or worked on, by a job or by hand."""
    if job is None:
        return run.status().get("state") in ("building", "running")
    return job.state != "ended" and not is_stuck(job)


def is_stuck(job: Job) -> bool:
    """Whether SLURM has put a job back in vain, and holds it from now on."""
    return job.state == "queued" and any(reason in job.reason for reason in STUCK)


def jobs(sweep: Sweep) -> dict[str, Job]:
    return known(sweep, sweep.unfinished(), recent())


def cancel(sweep: Sweep, runs: Sequence[Planned]) -> None:
    with turn():
        live = {path: job for path, job in known(sweep, runs, squeue()).items() if job.state != "ended"}
        if live:
            slurm("scancel", *compressed(job.id for job in live.values()))
            # SLURM forgets at once what it cancels before it has begun.
            remember(sweep, {key: "CANCELLED" for path, key in keys(sweep).items() if path in live})


# -- the ledger --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Array:
    """A job array, as the ledger has it.

    Attributes:
        sweep: the name of its sweep.
        tag: what tells it from the sweep's others.
    """

    sweep: str
    tag: str

    @classmethod
    def of(cls, name: str) -> Array | None:
        """The array of a job's name, if it is one of this results folder."""
        sweep, _, tag = name.rpartition(".")
        array = cls(sweep, tag)
        return array if re.fullmatch("[0-9a-f]{8}", tag) and array.file("runs").exists() else None

    @property
    def name(self) -> str:
        return f"{self.sweep}.{self.tag}"

    def file(self, kind: str) -> Path:
        return results_root() / "sweeps" / self.sweep / "jobs" / f"{self.tag}.{kind}"

    def runs(self) -> list[str]:
        """The paths of its runs, by their indices."""
        return [line.partition("\t")[0] for line in self.file("runs").read_text().splitlines()]

    def number(self) -> str:
        """SLURM's for it; empty, if whoever submitted it did not live to write it down."""
        path = self.file("json")
        return str(json.loads(path.read_bytes())["number"]) if path.exists() else ""


@dataclass(frozen=True)
class Key:
    """A job of an array.

    Attributes:
        array: its array.
        index: its place there.
    """

    array: Array
    index: int

    def __str__(self) -> str:
        # Not SLURM's number: a controller that dies may give it out twice.
        return f"{self.array.tag}_{self.index}"

    @property
    def id(self) -> str:
        return f"{self.array.number()}_{self.index}"

    def job(self, queue: Queue) -> Job | None:
        """What squeue or sacct says of it."""
        return queue.get(self.array.name, {}).get(self.index)

    def ended(self, reasons: Mapping[str, str]) -> Job | None:
        """What the ledger says of it."""
        return Job(self.id, "ended", reasons[str(self)]) if str(self) in reasons else None


def arrays(sweep: Sweep) -> list[Array]:
    """All that were submitted for a sweep, the newest last."""
    paths = sorted(sweep.jobs.glob("*.runs"), key=lambda path: path.stat().st_mtime_ns)
    return [Array(sweep.name, path.stem) for path in paths]


def keys(sweep: Sweep) -> dict[str, Key]:
    """Where the runs of a sweep were last submitted, by their paths."""
    return {path: Key(array, index) for array in arrays(sweep) for index, path in enumerate(array.runs())}


def remembered(sweep: Sweep) -> dict[str, str]:
    """How jobs ended, as far as it is known: SLURM forgets it, within minutes if it keeps no accounts."""
    path = sweep.jobs / "ended.json"
    return dict(json.loads(path.read_bytes())) if path.exists() else {}


def remember(sweep: Sweep, reasons: Mapping[Key, str]) -> None:
    before = remembered(sweep)
    after = before | {str(key): reason for key, reason in reasons.items()}
    if after != before:
        with suppress(OSError):  # another user's sweep, a full disk: then it is asked again
            write_atomically(sweep.jobs / "ended.json", json.dumps(after) + "\n")


@contextmanager
def turn() -> Iterator[None]:
    """No other process submits or cancels jobs for this results folder.

    Raises:
        RunError: one does, for minutes.
    """
    path = results_root() / "sweeps" / ".slurm.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=TURN):
            yield
    except Timeout as error:
        raise RunError(
            f"other commands have been submitting jobs for {TURN:.0f} seconds ({path}): try again"
        ) from error
    finally:
        recent.until = -math.inf


# -- asking SLURM ------------------------------------------------------------------------------------------------------


def slurm(*command: str) -> str:
    """What one of SLURM's commands prints.

    Raises:
        RunError: it fails; the message has its words.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False)
    except FileNotFoundError as error:
        raise RunError(f"there is no SLURM on this machine (no {command[0]})") from error
    except subprocess.TimeoutExpired as error:
        raise RunError(f"SLURM does not answer: {command[0]} took over {ANSWER:.0f} seconds") from error
    if done.returncode:
        raise RunError(f"SLURM: {plain(done.stderr) or f'{command[0]} ended with code {done.returncode}'}")
    return done.stdout


def plain(text: str) -> str:
    """SLURM's complaint as one line."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in text.splitlines()]
    return "; ".join(line for line in lines if line)


def sinfo(field: str) -> list[str]:
    """A field of all partitions or nodes, each value once."""
    return sorted(set(slurm("sinfo", "--noheader", f"--format={field}").split()))


def known(sweep: Sweep, runs: Sequence[Planned], queue: Queue) -> dict[str, Job]:
    """What SLURM says of these runs, by their paths; of sacct it is asked at most once.

    Args:
        sweep: theirs.
        runs: the runs.
        queue: what squeue says.
    """
    wanted = {run.path for run in runs}
    live: dict[str, Job] = {}
    for name, entries in queue.items():  # of other sweeps too: two may have a run in common
        if array := Array.of(name):
            jobs = ((path, entries.get(index)) for index, path in enumerate(array.runs()) if path in wanted)
            live |= {path: job for path, job in jobs if job is not None and job.state != "ended"}
    last = {path: key for path, key in keys(sweep).items() if path in wanted - live.keys()}
    before = remembered(sweep)
    over = {path: key.job(queue) or key.ended(before) for path, key in last.items()}
    forgotten = {path: key for path, key in last.items() if over[path] is None and key.array.number()}
    if forgotten:
        accounts = sacct({key.array.number() for key in forgotten.values()})
        over |= {path: key.job(accounts) for path, key in forgotten.items()}
    remember(sweep, {last[path]: job.reason for path, job in over.items() if job is not None})
    gone = {path: Job(key.id, "ended", GONE) for path, key in forgotten.items()}
    return live | gone | {path: job for path, job in over.items() if job is not None}


class Recent:
    """squeue's last answer, good for a moment: a `status` looks at many sweeps, and bothers SLURM once."""

    def __init__(self) -> None:
        self.until = -math.inf
        self.answer: Queue | RunError = {}

    def __call__(self) -> Queue:
        if time.monotonic() > self.until:
            try:
                self.answer = squeue()
            except RunError as error:  # which takes SLURM many seconds to find out
                self.answer = error
            self.until = time.monotonic() + MOMENT
        if isinstance(self.answer, RunError):
            raise self.answer
        return self.answer


recent = Recent()


def squeue() -> Queue:
    """The user's jobs by their names and indices: all that wait or run, and those that ended minutes ago."""
    lines = slurm("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%F|%K|%T|%r|%j")
    found: Queue = {}
    for line in lines.splitlines():
        number, index, state, reason, name = line.split("|", 4)
        if index.isdecimal():
            found.setdefault(name, {})[int(index)] = job(f"{number}_{index}", state, reason)
    return found


def sacct(numbers: Iterable[str]) -> Queue:
    """The jobs of these arrays that have ended, by their names and indices; none, if the cluster keeps no accounts."""
    from submitit.slurm.slurm import read_job_id

    fields = "--format=JobID,State,ExitCode,JobName"
    try:
        lines = slurm("sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={','.join(numbers)}", fields)
    except RunError:
        return {}
    found: Queue = {}
    for line in lines.splitlines():
        id, state, code, name = line.split("|", 3)
        for number, *span in read_job_id(id):
            for index in range(int(span[0]), int(span[-1]) + 1) if span else ():
                each = job(f"{number}_{index}", state.split()[0], ended_with(code))
                if each.state == "ended":  # squeue, which is asked first and is ahead, says so of all of them
                    found.setdefault(name, {})[index] = each
    return found


def ended_with(code: str) -> str:
    """sacct's `CODE:SIGNAL` in words; nothing, where all went well."""
    exit_code, _, signal = code.partition(":")
    return f"signal {signal}" if signal not in ("", "0") else "" if exit_code == "0" else f"exit code {exit_code}"


def job(id: str, state: str, reason: str) -> Job:
    """A job of which SLURM says that it is in this state, and why."""
    if reason in ("JobLaunchFailure", "signal 53") or "RaisedSignal:53" in reason:
        reason = f"its node could not write to {results_root()}: is that a folder that the nodes share?"
    if reason in ("", "None"):
        reason = state
    elif state != "PENDING":
        reason = f"{state}: {reason}"
    return Job(id, STATES.get(state, "ended"), reason)


def settled(sweep: Sweep, runs: Sequence[Planned]) -> dict[str, Job]:
    """What SLURM says of these runs when those that it is ending have left their nodes."""
    end = time.monotonic() + SETTLE
    while True:
        found = known(sweep, runs, squeue())
        if time.monotonic() > end or not any(job.state == "ending" for job in found.values()):
            return found
        time.sleep(1)


def compressed(ids: Iterable[str]) -> list[str]:
    """Jobs as scancel takes them: `12_0 12_1 12_2 12_5` as `12_[0-2,5]`."""
    indices: dict[str, list[int]] = {}
    for number, index in (id.split("_") for id in ids):
        indices.setdefault(number, []).append(int(index))
    return [f"{number}_[{','.join(spans(sorted(each)))}]" for number, each in indices.items()]


def spans(indices: Sequence[int]) -> Iterator[str]:
    """Ascending numbers, what is without a gap as `first-last`."""
    first = 0
    for place, index in enumerate(indices):
        if indices[place + 1 : place + 2] != [index + 1]:
            yield str(index) if first == place else f"{indices[first]}-{index}"
            first = place + 1


# -- submitting --------------------------------------------------------------------------------------------------------


def submit(sweep: Sweep, runs: Sequence[Planned]) -> list[str]:
    """Queue runs in arrays of the size that SLURM takes; its numbers for them.

    Raises:
        RunError: not all are taken.
    """
    plugins = {module: place for run in runs for module, place in run.config.get("plugins", {}).items()}
    dirs = list(dict.fromkeys(each for run in runs for each in run.config.get("trial", {}).get("dirs", [])))
    code = freeze(plugins, dirs)
    runs = [reading(run, {each: str(choices(code, number)) for number, each in enumerate(dirs)}) for run in runs]
    # An array's own limit on jobs at a time knows nothing of the other arrays: one begins when those before have ended.
    limited = sweep.hardware["slurm"]["at_once"] is not None
    before = under_way(sweep) if limited else []
    numbers: list[str] = []
    size, queued = largest_array(), 0
    while queued < len(runs):
        part = runs[queued : queued + size]
        try:
            numbers.append(submit_array(sweep, part, code, before))
        except RunError as error:
            crowded = TOO_MANY.search(str(error))
            if crowded and len(part) > 1:
                size = len(part) // 2
                continue
            if not crowded and not numbers:
                raise
            raise RunError(
                f"of {len(runs)} runs {queued} are queued now, and no more are taken ({error})\n"
                f"`rlbench resume {sweep.name}` queues the others when there is room"
            ) from error
        queued += len(part)
        before += numbers[-1:] if limited else []
    return numbers


def under_way(sweep: Sweep) -> list[str]:
    """SLURM's numbers of a sweep's arrays that are not at their end."""
    return sorted({job.id.partition("_")[0] for job in own(sweep, squeue()) if job.state != "ended"})


def own(sweep: Sweep, queue: Queue) -> list[Job]:
    """The jobs of a sweep's arrays, those of finished runs too."""
    arrays = [entries for name, entries in queue.items() if (array := Array.of(name)) and array.sweep == sweep.name]
    return [job for entries in arrays for job in entries.values()]


def reading(run: Planned, copies: Mapping[str, str]) -> Planned:
    """The run; a trial of a search, which is composed when it begins, from copies of the user's folders."""
    trial = run.config.get("trial")
    if trial is None:
        return run
    dirs = [copies[each] for each in trial["dirs"]]
    return replace(run, config={**run.config, "trial": {**trial, "dirs": dirs}})


def largest_array() -> int:
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", slurm("scontrol", "show", "config"), re.M)
    return max(1, int(found[1])) if found else 1


def submit_array(sweep: Sweep, runs: Sequence[Planned], code: Path, before: Sequence[str]) -> str:
    """Queue runs as one array; SLURM's number for it.

    Args:
        sweep: theirs.
        runs: the runs.
        code: a copy of the code that they are to run.
        before: SLURM's numbers of arrays that are to end before it begins.

    Raises:
        RunError: it is not taken.
    """
    import submitit
    from submitit.core.utils import FailedJobError

    asked = sweep.hardware["slurm"]
    array = Array(sweep.name, secrets.token_hex(4))
    array.file("runs").parent.mkdir(exist_ok=True)
    sweep.output(runs[0]).parent.mkdir(exist_ok=True)
    write_atomically(array.file("runs"), "".join(f"{run.path}\t{json.dumps(asdict(run))}\n" for run in runs))
    options: dict[str, Any] = {"output": array.file("out"), "signal": f"USR2@{asked['notice']}", "requeue": True}
    if before:
        options["dependency"] = f"afterany:{':'.join(before)}"
    options |= {name.replace("_", "-"): value or True for name, value in asked["extra"].items()}
    executor = submitit.SlurmExecutor(sweep.jobs)
    executor.update_parameters(
        job_name=array.name,
        time=asked["minutes"],
        mem=f"{math.ceil(1024 * asked['memory_gb'])}M",
        nodes=1,
        ntasks_per_node=1,
        cpus_per_task=asked["cpus"],
        array_parallelism=asked["at_once"] or len(runs),
        wckey=None,
        stderr_to_stdout=True,
        use_srun=False,  # the command has its own
        setup=prepare(sweep, array, code, asked["setup"]),
        additional_parameters=options,
        **{name: asked[name] for name in ("partition", "account", "qos", "gres", "constraint") if asked[name]},
    )
    executor.parameters["map_count"] = len(runs)
    try:
        with redirect_stderr(io.StringIO()), outside_of_jobs():
            number = executor._submit_command(command(array, asked["cpus"])).job_id
    except FailedJobError as error:
        said = plain(str(error))
        if "partition" in said:
            raise UsageError(f"SLURM: {said}\nhardware.slurm.partition= takes {', '.join(sinfo('%R'))}") from error
        raise RunError(f"SLURM: {said}") from error
    entry = {"number": number, "time": time.time(), "code": code.name}
    write_atomically(array.file("json"), json.dumps(entry) + "\n")
    return str(number)


def prepare(sweep: Sweep, array: Array, code: Path, setup: Sequence[str]) -> list[str]:
    """The shell lines of a job before its run: whatever they print is found where the run's own output is."""
    places = {"RLBENCH_RESULTS": results_root(), "RLBENCH_CACHE": cache_root()}
    return [
        f'run=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(array.file("runs")))} | cut -f 1)',
        f'exec >> {shlex.quote(str(sweep.path / "output"))}/"${{run##*/}}.txt" 2>&1',
        *(f"export {name}={shlex.quote(str(place))}" for name, place in places.items()),
        *setup,
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}",
    ]


def command(array: Array, cpus: int) -> str:
    """The shell line of a job that does its run.

    Signals reach a step, which srun makes, and not the shell that makes it. Until Python hears them they are ignored:
    a job that SIGUSR2 ends before it has begun would have failed.
    """
    step = f"srun --quiet --ntasks=1 --cpus-per-task={cpus} --export=ALL --input=none"
    deaf = 'sh -c \'trap "" TERM USR2; exec "$@"\' sh'
    python = f"{shlex.quote(sys.executable)} -P -m rlbench.launch.slurm_job"  # -P: not from the working directory
    return f'{step} {deaf} {python} {shlex.quote(str(array.file("runs")))} "$run"'


@contextmanager
def outside_of_jobs() -> Iterator[None]:
    """Without what a job around this process tells its own steps: sbatch would tell it to ours."""
    names = [name for name in os.environ if name.startswith(("SLURM_", "SLURMD_", "SRUN_")) and name != "SLURM_CONF"]
    inherited = {name: os.environ.pop(name) for name in names} if "SLURM_JOB_ID" in os.environ else {}
    try:
        yield
    finally:
        os.environ.update(inherited)
