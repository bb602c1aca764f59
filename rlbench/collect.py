"""Data recorded from trained runs: `rlbench data make policy=RUN steps=N --to PLACE`."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf

from rlbench.data import export, recorder
from rlbench.data.provenance import which
from rlbench.data.store import Progress
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError
from rlbench.files import take, write_atomically
from rlbench.tracking.rundir import RunDir

if TYPE_CHECKING:
    from rlbench.envs.pictured import Pictured


def collect(
    directory: RunDir,
    steps: int,
    noise: float,
    seed: int,
    to: Path,
    form: str,
    progress: Progress | None = None,
    views: Pictured | None = None,
) -> Transitions:
    """Record the policies of a run, one a seed in equal parts, whole episodes, and write them to a file or folder.

    What is recorded lies in `.NAME.partial` beside it until all is there; the same call goes on with it.

    Args:
        directory: the run; its latest checkpoint acts, deterministically but for the noise.
        steps: least number of transitions.
        noise: standard deviation of Gaussian noise on the actions, in halves of their range (TD3's exploration).
        seed: of starts and noise.
        to: the file or folder, which must not be there yet.
        form: d4rl or minari.
        views: how the run's environment looks: pictures are recorded beside the states.

    Raises:
        UsageError: the place is taken, the run's problem is none that takes data, or another than `views`; or its
            policies act on pictures.
        RunError: the run has no policy, or the data cannot be written.
    """
    from rlbench.build import build_trained
    from rlbench.envs.control import Control
    from rlbench.envs.pictured import Pictured
    from rlbench.policies import policy, require_policy, torchscript

    export.refuse_taken(to)
    algorithm, task, step = build_trained(directory, "hardware.device=cpu")
    algo = OmegaConf.create(directory.config()).algo.name
    require_policy(algorithm, directory.path)
    if not isinstance(task.env, Control):
        raise UsageError(
            f"env={task.env.name} of {directory.path} is learned without data: there is no use for any of it"
        )
    if isinstance(task.env, Pictured):
        raise UsageError(f"{directory.path} acts on pictures: recorded are runs that act on states, with views=NAME")
    if views is not None and (views.id, views.kwargs) != (task.env.id, task.env.kwargs):
        raise UsageError(f"views={views.name} are not of env={task.env.name}, which {directory.path} acts in")
    asked: dict[str, Any] = {
        "run": directory.path.name,
        "step": step,
        "steps": steps,
        "noise": noise,
        "seed": seed,
        **({} if views is None else {"views": views.name, "size": views.size}),
    }
    partial = to.with_name(f".{to.name}.partial")
    with ExitStack() as held:
        try:
            held.enter_context(under_way(partial, asked))
            files = [partial / f"policy-seed{each}.pt" for each in task.seeds]
            for place, file in enumerate(files):
                if not file.exists():
                    unfinished = file.with_suffix(".tmp")
                    torchscript(policy(algorithm, place), task).save(str(unfinished))
                    unfinished.replace(file)
            parts: list[tuple[Path | None, int]] = [(file, math.ceil(steps / len(files))) for file in files]
            title = f"recording {to.name}"
            tables = recorder.record(views or task.env, parts, [seed], title, progress, noise=noise, keep=partial)
        except OSError as error:
            raise RunError(
                f"cannot write {partial}: {error.strerror or error}; what is recorded stays there"
            ) from error
        card: dict[str, Any] = {
            "id": to.name,
            "about": f"recorded from run {directory.path.name} ({algo}) after {asked['step']} steps",
            "env": task.env.id,
            "which": which(task.env.kwargs),
            "policy": asked,
            "versions": {package: version(package) for package in ("gymnasium", "mujoco", "numpy")},
        }
        observation_dim, action_dim = task.env.dims()
        data = Transitions(np.concatenate(tables), observation_dim, action_dim, card)
        frames = [] if views is None else recorder.frame_files(partial, parts, [seed])
        export.write(data, task.env, to, form, progress, frames)
        shutil.rmtree(partial)
    return data


@contextmanager
def under_way(partial: Path, asked: dict[str, Any]) -> Iterator[None]:
    """Make the folder of a recording, or find that it is of this one; meanwhile no other process records there.

    Raises:
        UsageError: it is of another, or another process is at work there.
    """
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / "lock").open("w") as lock:
        take(lock, f"{partial}: another process records into it\nname another place with --to")
        note = partial / "asked.json"
        if not note.exists():
            write_atomically(note, json.dumps(asked))
        elif (found := json.loads(note.read_text())) != asked:
            differs = ", ".join(f"{name}={found.get(name)}" for name in asked if found.get(name) != asked[name])
            raise UsageError(f"{partial} holds another recording ({differs}): finish it, or remove the folder")
        yield
