"""Writes this folder's tables and figure from the runs of `run.sh` (needs matplotlib).

`scores.jsonl` keeps what they are made of, one run a line; runs that are not there any more keep theirs.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from omegaconf import OmegaConf

from rlbench.build import build_trained
from rlbench.envs.evaluate import rollout, start_seed
from rlbench.envs.point_maze import STEP, shortest
from rlbench.tracking.rundir import RunDir

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
SCORES = HERE / "scores.jsonl"
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

Run = dict[str, Any]


def read(folder: Path) -> Run:
    """One finished run: what it was, its curves `[evaluations, seeds]`, and what its last rows say `[seeds]`."""
    config = OmegaConf.load(folder / "config.yaml")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda r: (r["step"], r["seed"])):
        for name in {*CURVES, *LAST} & row.keys():
            found[name][row["step"]].append(round(row[name], 4))
    run: Run = {
        "run": "/".join(folder.parts[-3:]),
        "command": " ".join(["rlbench", *OmegaConf.load(folder / "overrides.yaml")]),
        "algo": config.algo.name,
        "env": config.env.name,
        "steps": config.steps,
        "seeds": config.seeds,
        "minutes": round(max(row["time"] for row in rows) / 60, 1),
        "evaluated": sorted(found[CURVES[0]]),
    }
    for name in CURVES:
        if name in found:
            run[name] = [found[name][step] for step in run["evaluated"]]
    run |= {name: found[name][max(found[name])] for name in LAST if name in found}
    if HIGHEST in found:
        run["highest"] = np.max([found[HIGHEST][step] for step in run["evaluated"]], axis=0).tolist()
    if config.env.name == "pointmaze2d_sparse":
        run["detour"] = detours(RunDir(folder))
    return run


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


def collect() -> list[Run]:
    known = {run["run"]: run for run in map(json.loads, SCORES.read_text().splitlines())} if SCORES.exists() else {}
    results = Path(os.environ.get("RLBENCH_RESULTS", "results")) / "runs"
    for status in [*results.glob("*/pendulum-*/*/status.json"), *results.glob("*/pointmaze2d_sparse-*/*/status.json")]:
        if json.loads(status.read_text())["state"] == "finished":
            run = read(status.parent)
            known[run["run"]] = run
    runs = sorted(known.values(), key=lambda run: (run["env"], list(TITLES).index(run["algo"]), run["run"]))
    SCORES.write_text("".join(json.dumps(run) + "\n" for run in runs))
    return runs


def spread(values: list[Any], digits: int = 2) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{np.mean(values):,.{digits}f} ± {np.std(values, ddof=1):,.{digits}f}" if values else ""


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
                f"| {TITLES[run['algo']]} | {spread(success[-1])} | {', '.join(f'{s:.2f}' for s in success[-1])} "
                f"| {', '.join(f'{n:.0f}' for n in met)} | {ratio} |"
            )
    head = "| | success at 20,000 | each seed | rewards met while learning | length / shortest (median) |"
    return [head, "|---|---|---|---|---|", *rows]


def stability(runs: list[Run]) -> list[str]:
    rows = [
        f"| {run['env']} | {TITLES[run['algo']]} | {spread(run['eval/q_data'])} | {spread(run['eval/q_policy'])} "
        f"| {spread(run['eval/q_policy_max'])} | {max(run['highest']):.2f} | {spread(run['eval/target_distance'], 4)} |"
        for run in runs
        if "eval/q_data" in run
    ]
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
    runs = collect()
    page = HERE / "README.md"
    text = page.read_text()
    for name, table in {"pendulum": pendulum(runs), "maze": maze(runs), "stability": stability(runs)}.items():
        before, rest = text.split(f"<!-- {name} -->\n")
        after = rest.split("<!-- end -->\n", 1)[1]
        text = f"{before}<!-- {name} -->\n" + "\n".join(table) + f"\n<!-- end -->\n{after}"
    page.write_text(text)
    curves(runs)


if __name__ == "__main__":
    main()
