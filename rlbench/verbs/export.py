"""`rlbench export RUN`: the trained policies, one file a seed, with an example that loads them without rlbench."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.cli import Parser
from rlbench.errors import UsageError
from rlbench.files import write_atomically
from rlbench.paths import results_root
from rlbench.tracking.rundir import resolve

if TYPE_CHECKING:
    from torch import Tensor

    from rlbench.task import Task

HELP = """\
Write the policy of each seed as one file that needs neither rlbench, Hydra nor W&B,
and example.py, which loads and plays it if its problem has a simulator.
A planner's schedule becomes a table: schedule-seedK.csv; a language model a folder: model-seedK."""

TORCHSCRIPT = '''\
"""Plays an exported policy; needs torch and gymnasium[mujoco], nothing else."""
import gymnasium, torch

policy = torch.jit.load("{file}")
env = gymnasium.make("{env}"{options})
observation, _ = env.reset(seed=0)
score, done = 0.0, False
while not done:
    action = policy(torch.as_tensor(observation, dtype=torch.float32).reshape(1, -1))[0].numpy(){choice}
    observation, reward, terminated, truncated, _ = env.step(action)
    score, done = score + reward, terminated or truncated
print("return", score)
'''

ONNX = '''\
"""Plays an exported policy; needs onnxruntime and gymnasium[mujoco], nothing else."""
import gymnasium, numpy, onnxruntime

policy = onnxruntime.InferenceSession("{file}")
env = gymnasium.make("{env}"{options})
observation, _ = env.reset(seed=0)
score, done = 0.0, False
while not done:
    action = policy.run(None, {{"observation": observation.astype(numpy.float32).reshape(1, -1)}})[0][0]{choice}
    observation, reward, terminated, truncated, _ = env.step(action)
    score, done = score + reward, terminated or truncated
print("return", score)
'''


def onnx(act: Callable[[Tensor], Tensor], task: Task, path: Path) -> None:
    """The policy in ONNX, for any number of observations."""
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxscript") is None:
        raise UsageError("--format onnx needs packages that are not installed: pip install 'rlbench[onnx]'")
    import torch

    from rlbench.policies import torchscript

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's remarks on itself
        try:
            torch.onnx.export(
                torchscript(act, task), (torch.zeros(2, task.env.dims()[0]),), path, dynamo=False,
                input_names=["observation"], output_names=["action"],
                dynamic_axes={"observation": {0: "batch"}, "action": {0: "batch"}},
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            raise UsageError(
                f"{path}: PyTorch's exporter cannot say in ONNX what this policy computes; leave --format onnx out"
            ) from error


def texts(algorithm: Any, seeds: Sequence[int], out: Path) -> Iterator[tuple[Path, str]]:
    """Where the files of an algorithm that writes its own go, and what is in them."""
    out.mkdir(parents=True, exist_ok=True)
    for place, seed in enumerate(seeds):
        for name, text in algorithm.files(place).items():
            yield out / f"{Path(name).stem}-seed{seed}{Path(name).suffix}", text


def played(example: str, file: Path, env: Any) -> str:
    """The example that plays a policy's file in a problem that is solved step by step."""
    options = "".join(f", {name}={value!r}" for name, value in env.kwargs.items())
    choice = ".argmax()" if env.discrete() else ""
    return example.format(file=file.name, env=env.id, options=options, choice=choice)


def main(argv: Sequence[str]) -> int:
    parser = Parser("export", HELP)
    parser.add_argument("run", metavar="RUN", help="first digits of a run's id, or its directory")
    parser.add_argument("--format", choices=["torchscript", "onnx"], default="torchscript")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to; default: export/ in the run's directory")
    given = parser.parse_args(argv)

    from rlbench.build import build_trained
    from rlbench.envs.stepwise import Stepwise
    from rlbench.policies import policy, require_policy, torchscript

    directory = resolve(given.run, results_root())
    algorithm, task, _ = build_trained(directory, "hardware.device=cpu")
    out = given.out or directory.path / "export"
    if hasattr(algorithm, "files"):
        written = list(texts(algorithm, task.seeds, out))
        if not written:
            raise UsageError(f"{directory.path}: this algorithm has nothing that could be written to a file")
        for path, text in written:
            write_atomically(path, text)
            print(path)
        return 0
    if hasattr(algorithm, "save"):
        for place, seed in enumerate(task.seeds):
            algorithm.save(place, out / f"model-seed{seed}")
            print(out / f"model-seed{seed}")
        return 0
    require_policy(algorithm, directory.path)
    task = algorithm.task  # type: ignore[attr-defined]  # whose observations may say more than the problem's
    out.mkdir(parents=True, exist_ok=True)
    suffix, example = {"torchscript": ("pt", TORCHSCRIPT), "onnx": ("onnx", ONNX)}[given.format]
    files = []
    for place, seed in enumerate(task.seeds):
        path = out / f"policy-seed{seed}.{suffix}"
        if given.format == "onnx":
            onnx(policy(algorithm, place), task, path)
        else:
            torchscript(policy(algorithm, place), task).save(str(path))
        files.append(path)
    for path in files:
        print(path)
    if not isinstance(task.env, Stepwise):
        print(f"note: no example.py: env={task.env.name} has no simulator to play in", file=sys.stderr)
        return 0
    write_atomically(out / "example.py", played(example, files[0], task.env))
    print(out / "example.py")
    return 0
