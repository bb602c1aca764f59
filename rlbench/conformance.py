"""What every algorithm must keep, whoever wrote it: `python -m rlbench.conformance algo=mine --config-dir DIR`.

The algorithm is made small (narrow networks, few epochs, 2,000 rows of data) and driven by its four methods; what makes
a problem or its data small, their files say themselves (`about: {small: {KEY: VALUE}}`). Each check raises
`AssertionError` with what was broken.
"""

from __future__ import annotations

import io
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from rlbench import config, cpu
from rlbench.build import Algorithm, Capturable, build
from rlbench.cli import request
from rlbench.errors import UsageError
from rlbench.identity import RESERVED
from rlbench.nets.tape import identical
from rlbench.task import Task

SMALL: dict[str, Any] = {
    "batch_size": 64,
    "num_critics": 3,
    "members": 3,
    "elites": 2,
    "max_epochs": 2,
    "epochs": 2,
    "samples": 2,
    "embedding_width": 2,
    "rollout_starts": 64,
    "rollout_every": 40,
    "imagination_length": 2,
    "start_steps": 30,
    "offline_steps": 30,
    "bc_steps": 30,
    "warmup_steps": 30,
    "reward_steps": 30,
    "updates_per_step": 2,
    "buffer_size": 150,
    "pairs": 500,
    "size": 2000,
    "rows": 2000,
    "traces": 16,
    "periods": 6,
    "ignored": 2,
    "dev_every": 50,
    "updates": 2,
    "population": 10,
    "batch": 10,
    "chunk": 40,
}
"""Values for keys of these names, or of names that end so."""
WIDTH = 32  # of every hidden layer; in narrower ones dying units make rounding grow
STEPS = 200
CUT_STEPS = 100  # where a state is cut somewhere
EAGER = 10  # updates before they are recorded, where they are
EARLY_STEPS = 20
OBSERVATIONS = 600  # more than go through a network at once
CLOSE = 1e-5
GROWN = 2e-2  # what rounding may grow to in STEPS updates: Adam divides small gradients by their own size


class Subject:
    """An algorithm under test.

    Args:
        overrides: what chooses it, e.g. `["algo=cocoa", "base=iql"]`.
        folder: for its datasets and stages.
        config_dirs: the user's own folders of choices.
    """

    def __init__(self, overrides: Sequence[str], folder: Path, config_dirs: Sequence[str | Path] = ()) -> None:
        self.config_dirs = config_dirs
        self.folder = folder
        plain = config.compose(overrides, config_dirs)
        recorded = "dataset=random" if plain.dataset.level == "medium" else f"dataset.level={plain.dataset.level}"
        chosen = [*overrides, *([recorded] if recorded == "dataset=random" else [])]
        self.overrides = [
            *chosen, f"steps={STEPS}", "eval.every=100", "eval.episodes=1", "hardware=cpu", "tracking=disabled",
            *self._small(config.compose(chosen, config_dirs)),
        ]  # fmt: skip

    @staticmethod
    def _small(cfg: DictConfig) -> Iterator[str]:
        settable = {key for key, _ in config.keys(cfg)}
        for key, value in leaves(cfg):
            name = key.rpartition(".")[2]
            if key.startswith("algo.base.") and key.replace(".base", "", 1) in settable:  # the wrapper's decides
                continue
            if name.endswith("_dims"):
                yield f"{key}={[WIDTH] * len(value)}"
            else:
                endings = (ending for ending in SMALL if name == ending or name.endswith(f"_{ending}"))
                if (ending := max(endings, key=len, default=None)) is not None:  # batch_size is no other size
                    yield f"{key}={SMALL[ending]}"
        for group in ("env", "dataset"):
            for name, value in (cfg[group].about.get("small") or {}).items():
                yield f"{group}.{name}={value}"

    def config(self, *overrides: str) -> DictConfig:
        return config.compose([*self.overrides, *overrides], self.config_dirs)

    @contextmanager
    def built(self, *overrides: str, place: str = "a") -> Iterator[tuple[Algorithm, Task]]:
        """The algorithm and its task; `place` names the cache that its stages are kept in."""
        before = os.environ.get("RLBENCH_CACHE")
        os.environ["RLBENCH_CACHE"] = str(self.folder / place)
        cpu.settle(1)
        try:
            yield build(self.config(*overrides))
        finally:
            if before is None:
                del os.environ["RLBENCH_CACHE"]
            else:
                os.environ["RLBENCH_CACHE"] = before


def leaves(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """The settings of algorithm, environment and dataset, dotted, with their values."""

    def walk(node: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
        for name, value in node.items():
            if name in RESERVED | config.LABELS:
                continue
            if isinstance(value, dict):
                yield from walk(value, f"{path}.{name}")
            else:
                yield f"{path}.{name}", value

    for group in ("algo", "env", "dataset"):
        content = cast(dict[str, Any], OmegaConf.to_container(cfg[group]))
        yield from walk(content, group)


def saved(algorithm: Algorithm) -> bytes:
    buffer = io.BytesIO()
    torch.save(algorithm.state_dict(), buffer)
    return buffer.getvalue()


def loaded(state: bytes) -> dict[str, Any]:
    return torch.load(io.BytesIO(state), weights_only=True)


def differences(a: Any, b: Any, path: str = "state") -> Iterator[str]:
    """Places where two states are not the same to the bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            yield f"{path}: keys {sorted(map(str, a.keys() ^ b.keys()))}"
        for key in a.keys() & b.keys():
            yield from differences(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            yield f"{path}: {len(a)} and {len(b)} entries"
        for place, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from differences(x, y, f"{path}[{place}]")
    elif isinstance(a, Tensor) and isinstance(b, Tensor):
        if not identical(a, b):
            yield path
    elif a != b and not (a != a and b != b):
        yield f"{path}: {a} and {b}"


def same(a: Any, b: Any, what: str) -> None:
    found = list(differences(a, b))
    assert not found, f"{what}: {len(found)} differences, first {found[0]}"


def metrics_of(metrics: dict[str, Any], seeds: int, prefix: str) -> dict[str, Tensor]:
    """Metrics as tensors, one value a seed, if they are what the contract says."""
    tensors = {name: torch.as_tensor(value) for name, value in metrics.items()}
    assert tensors, f"no metrics of {prefix}"
    for name, value in tensors.items():
        assert name.startswith(prefix), f"{name} does not begin with {prefix}"
        assert value.shape == (seeds,), f"{name} is {list(value.shape)}, not one value for each of {seeds} seeds"
        assert not value.requires_grad, f"{name} holds on to its graph: detach it"
    return tensors


def check_resumes(subject: Subject) -> None:
    """Two seeds: the same twice, in chunks, with evaluations between, from a saved state, and (on the CPU) by recorded
    updates: always to the bit."""
    stop = random.Random(" ".join(subject.overrides)).randrange(1, CUT_STEPS)
    with subject.built("seeds=2", place="a") as (whole, _):
        expected = metrics_of(whole.train(CUT_STEPS), 2, "train/")
    with subject.built("seeds=2", place="b") as (parts, task):
        if isinstance(parts, Capturable) and task.device.type == "cpu":
            parts.capture(compiled=False, after=EAGER, say=fail)
        parts.train(stop)
        state = saved(parts)
        first = metrics_of(parts.evaluate(), 2, "eval/")
        metrics = metrics_of(parts.train(CUT_STEPS - stop), 2, "train/")
        same(
            metrics,
            expected,
            f"metrics of train({stop}), evaluate(), train({CUT_STEPS - stop}) and of train({CUT_STEPS})",
        )
        same(loaded(saved(parts)), loaded(saved(whole)), f"states after {CUT_STEPS} in one piece, and cut at {stop}")
        final = metrics_of(parts.evaluate(), 2, "eval/")
    with subject.built("seeds=2", place="a") as (resumed, _):
        resumed.load_state_dict(loaded(state))
        same(
            metrics_of(resumed.evaluate(), 2, "eval/"), first, f"evaluations before saving at {stop} and after loading"
        )
        metrics = metrics_of(resumed.train(CUT_STEPS - stop), 2, "train/")
        same(metrics, expected, f"metrics without interruption, and resumed at {stop}")
        same(loaded(saved(resumed)), loaded(saved(whole)), f"states without interruption, and resumed at {stop}")
        same(metrics_of(resumed.evaluate(), 2, "eval/"), final, "evaluations of the two")


def check_seeds(subject: Subject) -> None:
    """Seed 3 of eight trained together is seed 3 alone, up to rounding.

    The end of a vector is computed by other instructions than its body, so the first bits to differ come with the first
    updates; what one seed takes from another is far above `CLOSE` there, and above `GROWN` later.
    """
    with subject.built("seeds=8", place="a") as (together, _), subject.built("seed=3", place="b") as (alone, _):
        for steps, tolerance in ((EARLY_STEPS, CLOSE), (STEPS - EARLY_STEPS, GROWN)):
            eight = metrics_of(together.train(steps), 8, "train/")
            one = metrics_of(alone.train(steps), 1, "train/")
            assert eight.keys() == one.keys(), f"metrics differ: {sorted(eight.keys() ^ one.keys())}"
            for name in one:  # a share of signs jumps where rounding turns one over
                close(eight[name][3], one[name][0], name, GROWN if name.endswith("accuracy") else tolerance)
            if hasattr(alone, "actor_params"):
                for name, value in alone.actor_params.items():
                    close(together.actor_params[name][3], value[0], f"actor's {name}", tolerance)  # type: ignore[attr-defined]


def fail(complaint: str) -> None:
    raise AssertionError(complaint)


def close(a: Tensor, b: Tensor, what: str, tolerance: float) -> None:
    alike = (a == b) | (a.isnan() & b.isnan())  # infinities and NaNs too
    error = float(torch.where(alike, 0.0, (a - b).abs() / b.abs().clamp(min=1.0)).max())
    assert error < tolerance, f"{what} of seed 3 is off by {error:.1e} (relative) among eight seeds"


def check_export(subject: Subject) -> None:
    """The exported policy of a seed acts as the algorithm does."""
    with subject.built("seeds=2") as (algorithm, task):
        if not hasattr(algorithm, "actor_params"):
            return
        from rlbench.policies import policy, torchscript

        task = algorithm.task  # type: ignore[attr-defined]  # whose observations may say more than the problem's
        algorithm.train(20)
        observation = torch.randn(2, OBSERVATIONS, task.env.dims()[0], generator=torch.Generator().manual_seed(0))
        actions = algorithm.action(algorithm.actor_params, algorithm.task.features(observation))  # type: ignore[attr-defined]
        for place in range(2):
            exported = torchscript(policy(algorithm, place), task)
            difference = float((exported(observation[place]) - actions[place]).abs().max())
            assert difference < CLOSE, f"the exported policy of seed {place} acts differently, by {difference:.1e}"


def check_refuses(subject: Subject) -> None:
    """Unknown keys, values of the wrong type and states of something else are refused."""
    cfg = subject.config()
    refused("algo.no_such_key=1", subject)
    for key, value in leaves(cfg):
        if key.startswith("algo.") and isinstance(value, bool | int | float):
            refused(f"{key}=[[nonsense]]", subject)
    with subject.built() as (algorithm, _):
        before = loaded(saved(algorithm))
        try:
            algorithm.load_state_dict({})
        except Exception:  # noqa: BLE001  whichever it is, it must not pass in silence
            same(loaded(saved(algorithm)), before, "states before and after a state that was refused")
        else:
            raise AssertionError("load_state_dict({}) is accepted")


def refused(override: str, subject: Subject) -> None:
    try:
        subject.config(override)
    except UsageError:
        return
    raise AssertionError(f"{override} is accepted")


CHECKS = {
    check.__name__.removeprefix("check_"): check for check in (check_resumes, check_seeds, check_export, check_refuses)
}


def main(argv: Sequence[str]) -> int:
    """Run every check on the algorithm that the words choose."""
    asked = request(argv, "", __doc__ or "")
    failures = 0
    for name, check in CHECKS.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(Subject(asked.overrides, Path(folder), asked.config_dirs))
            except AssertionError as error:
                failures += 1
                print(f"{name:8} FAILED: {error}")
            else:
                print(f"{name:8} passed: {(check.__doc__ or '').strip()}")
    return 1 if failures else 0


if __name__ == "__main__":
    from rlbench.cli import guarded

    sys.exit(guarded(lambda: main(sys.argv[1:])))
