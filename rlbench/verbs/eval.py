"""`rlbench eval RUN`: more episodes of a trained policy, on video if asked for."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench import config
from rlbench.choices import Choices
from rlbench.cli import Parser
from rlbench.errors import RunError, UsageError
from rlbench.files import write_atomically
from rlbench.paths import results_root
from rlbench.tracking.rundir import EPISODES, RunDir, decimals, mean_and_spread, resolve

if TYPE_CHECKING:
    import numpy as np

    from rlbench.envs.problem import Problem
    from rlbench.task import Task

HELP = """\
Evaluate the policies that a run has trained; the first ten episodes are those of its own evaluations.
Nothing in the run's directory changes, but for --keep.

env.KEY=VALUE judges them by another setting of the environment than the one that they were trained in:

  rlbench eval 1a2b env.id=Hopper-v5"""


def main(argv: Sequence[str]) -> int:
    parser = Parser("eval", HELP)
    parser.add_argument("run", metavar="RUN", help="first digits of a run's id, or its directory")
    parser.add_argument("words", nargs="*", metavar="env.KEY=VALUE", help="other settings of the environment")
    parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="a folder of your own choices")
    parser.add_argument("--episodes", type=int, default=100, metavar="N", help="for each seed (default: 100)")
    parser.add_argument("--seed", type=int, metavar="K", help="only the policy that was trained with this seed")
    parser.add_argument("--video", type=Path, metavar="FILE.mp4", help="film the first episode instead of evaluating")
    parser.add_argument(
        "--keep", action="store_true", help=f"leave the score of every episode in {EPISODES} of the run"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.read(argv)
    if given.episodes < 1:
        raise UsageError(f"--episodes {given.episodes}: at least 1")
    if given.keep and given.words:
        raise UsageError(f"--keep keeps the episodes of the run's own environment: leave out {' '.join(given.words)}")
    if given.keep and (given.seed is not None or given.video is not None):
        raise UsageError("--keep keeps the episodes of all seeds: leave out --seed and --video")
    if given.video is not None:
        prepare_video(given.video)

    directory = resolve(given.run, results_root())
    if given.keep and not directory.finished():
        raise RunError(f"--keep is for finished runs: `rlbench resume {directory.id}` goes on with this one")
    if given.keep and not os.access(directory.path, os.W_OK):
        raise RunError(f"--keep writes {EPISODES}, and {directory.path} is not to be written to")
    from rlbench.analysis.contents import defined
    from rlbench.build import build_trained
    from rlbench.run import no_numbers

    config.declare(Choices(given.config_dir).plugins(), list(map(Path, given.config_dir)))
    require_judged_by(directory, given.words)
    with fitting(given.words):
        algorithm, task, _ = build_trained(directory, f"eval.episodes={given.episodes}", *given.words)
    if given.seed is not None and given.seed not in task.seeds:
        raise UsageError(f"--seed {given.seed}: this run has the seeds {', '.join(map(str, task.seeds))}")
    if given.video is not None:
        from rlbench.envs.stepwise import Stepwise
        from rlbench.policies import require_policy

        require_policy(algorithm, directory.path)
        if not isinstance(task.env, Stepwise):
            raise RunError(f"env={task.env.name} has no simulator to play in: there is nothing to film")
        place = 0 if given.seed is None else task.seeds.index(given.seed)
        film(algorithm, task, place, given.video)
        return 0
    with fitting(given.words):
        metrics = {name: [float(v) for v in values] for name, values in algorithm.evaluate().items()}
    played = next((values.shape[1] for values in task.episodes.values()), 0)  # some tasks play fewer, or none
    counted = {"episodes": played} if played else {}
    rows = [
        {"seed": seed, **counted, **{name: values[place] for name, values in metrics.items()}}
        for place, seed in enumerate(task.seeds)
        if given.seed in (None, seed)
    ]
    wrong = [(name, seed) for name, seed, _ in no_numbers(metrics, task.seeds) if given.seed in (None, seed)]
    if given.json:
        print(json.dumps(defined(rows), indent=1))
    else:
        where = " ".join([task.env.simulator(), *given.words])
        print(f"{played} episodes a seed in {where}" if played else where)
        show(rows, list(metrics))
    if wrong:
        name, seed = wrong[0]
        raise RunError(
            f"{name} of seed {seed} is no number: its training diverged, or its environment gave none"
            + ("\nnothing was kept" if given.keep else "")
        )
    if given.keep:
        if not task.episodes:
            raise RunError("the algorithm of this run tells no episodes apart: there is nothing to keep")
        kept = {name: values.tolist() for name, values in task.episodes.items()}
        content = {"simulator": task.env.simulator(), "seeds": list(task.seeds), "values": kept}
        write_atomically(directory.path / EPISODES, json.dumps(content) + "\n")
    return 0


def require_judged_by(directory: RunDir, words: Sequence[str]) -> None:
    """Raise `UsageError` where a word sets something that a run's policies have learned from."""
    if not words:
        return
    directory.require_whole()  # config.load expects no damage
    env: Problem = config.instantiate(config.load(directory.path / "config.yaml").env)
    keys = [f"env.{name}" for name in sorted(env.judged_by)]
    for word in words:
        if not any(word == key or word.startswith((f"{key}=", f"{key}.")) for key in keys):
            wanted = f"wanted is one of {', '.join(keys)}" if keys else f"in env={env.name} nothing can"
            raise UsageError(f"{word}: this cannot be another in an evaluation than in training\n{wanted}")


@contextmanager
def fitting(words: Sequence[str]) -> Iterator[None]:
    """What an environment with other settings asks for that the policies are not made for ends as one message."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not words:
            raise
        raise RunError(f"the policies do not fit the environment with {' '.join(words)}: {error}") from error


def show(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Print the metrics of these names: over all seeds, and of each."""
    for name in names:
        mean, spread = mean_and_spread([row[name] for row in rows])
        digits = decimals([row[name] for row in rows])
        print(f"{name}: {mean:,.{digits}f}" + (f" ± {spread:,.{digits}f}" if len(rows) > 1 else ""))
        if len(rows) > 1:
            for row in rows:
                print(f"  seed {row['seed']:<6}{row[name]:12,.{digits}f}")


def prepare_video(path: Path) -> None:
    """Refuse what cannot be written; choose how MuJoCo draws where there is no screen (before it is imported)."""
    if path.suffix != ".mp4":
        raise UsageError(f"--video {path}: the name must end in .mp4")
    if importlib.util.find_spec("imageio") is None or importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UsageError("--video needs packages that are not installed: pip install 'rlbench[video]'")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"--video {path}: {path.parent} cannot be made ({error.strerror})") from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise RunError(f"--video {path}: it cannot be written there")
    from rlbench.envs.drawing import draw_without_a_screen

    draw_without_a_screen()


def film(algorithm: Any, task: Task, place: int, path: Path) -> None:
    """One episode of one seed's policy, as mp4."""
    import imageio.v2 as imageio
    import torch

    from rlbench.envs.evaluate import start_seed

    def act(observation: np.ndarray) -> np.ndarray:
        batch = torch.as_tensor(observation, dtype=torch.float32, device=task.device).reshape(1, 1, -1)
        features = algorithm.task.features(batch.expand(len(task.seeds), -1, -1))
        with torch.no_grad():
            return algorithm.action(algorithm.actor_params, features)[place, 0].cpu().numpy()

    env, frame = renderable(algorithm.task.env.make)  # whose observations may say more than the problem's
    observation, _ = env.reset(seed=start_seed(task.seeds[place], 0))
    score, done, frames = 0.0, False, 0
    with imageio.get_writer(path, fps=env.metadata.get("render_fps", 30), macro_block_size=16) as video:
        while not done:
            video.append_data(frame())  # type: ignore[attr-defined]
            frames += 1
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            score, done = score + float(reward), terminated or truncated
    env.close()
    print(f"{path}: {frames} frames of seed {task.seeds[place]}, return {score:,.2f}")


def renderable(make: Callable[..., Any]) -> tuple[Any, Callable[[], np.ndarray]]:
    """An environment that draws itself, and how; tried once, for drawing fails in many ways."""
    from rlbench.envs.drawing import cannot_draw

    plain = make()
    if "rgb_array" not in plain.metadata.get("render_modes", []):
        raise RunError(f"{plain.spec.id if plain.spec else 'this environment'} cannot draw itself")
    try:
        env = make(render_mode="rgb_array")
        env.reset(seed=0)
        env.render()
    except Exception as error:
        raise RunError(cannot_draw(error)) from error
    return env, env.render
