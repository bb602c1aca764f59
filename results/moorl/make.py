"""Writes this folder's tables and figure from the runs of `run.sh` (needs matplotlib).

`scores.jsonl` keeps what they are made of, one run a line; runs that are not there any more keep theirs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from results.tables import Finished, Run, collect, spread, write
from rlbench.build import build_trained
from rlbench.envs.evaluate import rollout, start_seed
from rlbench.envs.point_maze import STEP, shortest
from rlbench.tracking.rundir import RunDir

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
TITLES = {
    "moorl": "MOORL",
    "sacfd": "SACfD, 50/50",
    "rlpd": "RLPD, one update a step",
    "sac": "SAC, no data",
    "iql": "IQL, no interaction",
    "bc": "BC, no interaction",
}
CURVES = "eval/return", "eval/success"
LAST = "eval/q_data", "eval/q_policy", "eval/q_policy_max", "eval/target_distance", "train/successes"
HIGHEST = "eval/q_policy_max"


def read(run: Finished) -> Run:
    """What it was, its curves `[evaluations, seeds]`, and what its last rows say `[seeds]`."""
    config = run.config
    curves = {name: curve for name in CURVES if (curve := run.curve(name))}
    last = {name: curve for name in LAST if (curve := run.curve(name))}
    made = {
        **run.named(),
        "algo": config["algo"]["name"],
        "env": config["env"]["name"],
        "steps": config["steps"],
        "seeds": config["seeds"],
        "minutes": run.minutes,
        "evaluated": list(curves[CURVES[0]]),
        **{name: list(curve.values()) for name, curve in curves.items()},
        **{name: curve[max(curve)] for name, curve in last.items()},
    }
    if HIGHEST in last:
        made["highest"] = np.max([last[HIGHEST][step] for step in made["evaluated"]], axis=0).tolist()
    if made["env"] == "pointmaze2d_sparse":
        made["detour"] = detours(run.directory)
    return made


def order(run: Run) -> Any:
    return run["env"], list(TITLES).index(run["algo"]), run["run"]


def detours(directory: RunDir) -> list[float | None]:
    """Each seed's median of length over shortest length from the nearest grid point, among its successes."""
    algorithm, task = build_trained(directory, **{"hardware.device": "cpu"})
    actor = algorithm.actor_params  # type: ignore[attr-defined]
    episodes, lengths = 100, shortest()
    _, steps, success = rollout(task.env, lambda s: algorithm.action(actor, task.features(s)), task.seeds, episodes)  # type: ignore[attr-defined]
    env = task.env.make()
    found: list[float | None] = []
    for row, seed in enumerate(task.seeds):
        starts = [env.reset(seed=start_seed(seed, episode))[0] for episode in range(episodes)]
        best = np.array([lengths[tuple(np.rint(s / STEP).astype(int).tolist())] for s in starts])
        there = success[row] == 1
        found.append(round(float(np.median(steps[row][there] / best[there])), 3) if there.any() else None)
    return found


def crossing(run: Run, bar: float) -> str:
    """The step of each seed's first evaluation above a return; the median first."""
    above = np.array(run["eval/return"]) > bar
    steps = [run["evaluated"][seed.argmax()] if seed.any() else np.inf for seed in above.T]
    each = ", ".join("never" if step == np.inf else f"{step:,}" for step in steps)
    return f"{'never' if np.median(steps) == np.inf else f'{np.median(steps):,.0f}'} ({each})"


def pendulum(runs: list[Run]) -> list[str]:
    rows = [
        f"| {TITLES[run['algo']]} | {crossing(run, -400)} | {crossing(run, -250)} "
        f"| {spread(run['eval/return'][-1], 0)} |"
        for run in runs
        if run["env"] == "pendulum"
    ]
    return ["| | first above -400 | first above -250 | return at 12,000 |", "|---|---|---|---|", *rows]


def maze(runs: list[Run]) -> list[str]:
    rows = []
    for run in runs:
        if run["env"] == "pointmaze2d_sparse":
            met = run.get("train/successes", "")
            ratio = ", ".join("-" if value is None else f"{value:.2f}" for value in run["detour"])
            success = run["eval/success"]
            rows.append(
                f"| {TITLES[run['algo']]} | {spread(success[-1], 2)} | {', '.join(f'{s:.2f}' for s in success[-1])} "
                f"| {', '.join(f'{n:.0f}' for n in met)} | {ratio} |"
            )
    head = "| | success at 20,000 | each seed | rewards met while learning | length / shortest (median) |"
    return [head, "|---|---|---|---|---|", *rows]


def stability(runs: list[Run]) -> list[str]:
    rows = []
    for run in (run for run in runs if "eval/q_data" in run):
        data, policy, most = (spread(run[f"eval/{name}"], 2) for name in ("q_data", "q_policy", "q_policy_max"))
        apart, highest = spread(run["eval/target_distance"], 4), f"{max(run['highest']):.2f}"
        rows.append(f"| {run['env']} | {TITLES[run['algo']]} | {data} | {policy} | {most} | {highest} | {apart} |")
    head = "| | | Q of data | Q of policy | its maximum | at any time, any seed | target distance |"
    return [head, "|---|---|---|---|---|---|---|", *rows]


def curves(runs: list[Run]) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.4))
    panels = [("pendulum", "eval/return"), ("pointmaze2d_sparse", "eval/success")]
    colours = dict(zip(TITLES, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
    for axis, (env, metric) in zip(axes, panels, strict=True):
        for run in (run for run in runs if run["env"] == env):
            values = np.array(run[metric])
            style = {"color": colours[run["algo"]], "linewidth": 1.6}
            axis.plot(run["evaluated"], np.median(values, axis=1), label=TITLES[run["algo"]], **style)
            axis.fill_between(
                run["evaluated"], values.min(1), values.max(1), alpha=0.15, linewidth=0, color=style["color"]
            )
        axis.set(title=f"env={env}", xlabel="steps", ylabel=metric)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(HERE / "curves.svg", metadata={"Date": None})


def main() -> None:
    runs = collect(HERE, ["*/pendulum-*", "*/pointmaze2d_sparse-*"], read, order)
    write(HERE, {"pendulum": pendulum(runs), "maze": maze(runs), "stability": stability(runs)})
    curves(runs)


if __name__ == "__main__":
    main()
