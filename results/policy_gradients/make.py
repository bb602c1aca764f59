"""Writes this folder's tables and figure from the runs of `run.sh` (needs matplotlib).

`scores.jsonl` keeps what they are made of, one run a line; runs that are not there any more keep theirs.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from results.tables import Finished, Run, collect, write

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
SHOWN = {"lqr1d": "eval/gap", "chain3": "eval/gap", "cartpole": "train/return"}
TITLES = {
    "vanilla_pg": "vanilla PG",
    "nsgdm": "momentum, normalised",
    "npg_igt": "N-PG-IGT",
    "harpg": "HARPG",
    "nharpg": "N-HARPG",
    "ppo": "PPO",
    "trpo": "TRPO",
}
COLOURS = dict(zip(TITLES, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
EPISODE = {"lqr1d": 40, "chain3": 8}
"""Steps of an episode."""


def read(run: Finished) -> Run:
    """What it was, and its metrics `[times, seeds]` with their steps."""
    config, shown = run.config, SHOWN[run.config["env"]["name"]]
    found = {
        name: {
            step: values
            for step, values in run.curve(name, lambda x: float(f"{x:.5g}")).items()
            if (name == shown or step == config["steps"]) and step % config["eval"]["every"] == 0
        }
        for name in (shown, "eval/return", "train/iterations")
    }
    return {
        **run.named(),
        "algo": config["algo"]["name"],
        "alpha_0": config["algo"].get("alpha_0"),
        "env": config["env"]["name"],
        "steps": config["steps"],
        "seeds": config["seeds"],
        "minutes": run.minutes,
        "at": list(found[shown]),
        **{name: list(curve.values()) for name, curve in found.items() if curve},
    }


def order(run: Run) -> Any:
    return run["env"], list(TITLES).index(run["algo"]), run["alpha_0"] or 0


def named(run: Run) -> str:
    alpha = "" if run["alpha_0"] is None else f", alpha_0 = {run['alpha_0']:g}"
    return f"{TITLES[run['algo']]}{alpha}"


def gaps(runs: list[Run], env: str) -> list[str]:
    """Median and mean gap of each run, early and in the end."""
    counts = (1000, 4000)
    rows = []
    for run in (run for run in runs if run["env"] == env and run["seeds"] == 8):
        cells = []
        for count in counts:
            gap = np.array(run["eval/gap"][run["at"].index(count * EPISODE[env])])
            cells.append(f"{np.median(gap):.4f} ({gap.mean():.4f} ± {gap.std(ddof=1):.4f})")
        rows.append(f"| {named(run)} | {' | '.join(cells)} |")
    heads = " | ".join(f"{count:,} episodes" for count in counts)
    return [f"| | {heads} |", "|---|---|---|", *rows]


def cartpole(runs: list[Run]) -> list[str]:
    rows = []
    for run in (run for run in runs if run["env"] == "cartpole"):
        curve = np.array(run["train/return"])
        tail = curve[-2:].mean(0)
        steps = " | ".join(f"{np.mean(curve[run['at'].index(step)]):.0f}" for step in (10000, 25000))
        values = ", ".join(f"{value:.0f}" for value in run["eval/return"][-1])
        iterations = f"{np.mean(run['train/iterations'][-1]):.0f}"
        rows.append(
            f"| {named(run)} | {steps} | {tail.mean():.0f} ± {tail.std(ddof=1):.0f} | {values} | {iterations} |"
        )
    return [
        "| | at 10,000 | at 25,000 | last 10,000 of 50,000 | likeliest actions, each seed | iterations |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def figure(runs: list[Run]) -> None:
    canvas, axes = plt.subplots(1, 3, figsize=(16, 4.8))
    for axis, (env, metric) in zip(axes, SHOWN.items(), strict=True):
        first: dict[str, Run] = {}
        for run in (run for run in runs if run["env"] == env and run["seeds"] <= 8):
            if run["algo"] not in first or "alpha_0" not in run["command"]:
                first[run["algo"]] = run
        for name, run in first.items():
            values, steps = np.array(run[metric]), np.array(run["at"])
            if env == "cartpole":
                middle, low, high = values.mean(1), values.min(1), values.max(1)
            else:
                low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
            axis.plot(steps, middle, label=TITLES[name], color=COLOURS[name], linewidth=1.6)
            axis.fill_between(steps, low, high, color=COLOURS[name], alpha=0.12, linewidth=0)
        axis.set(title=f"env={env}", xlabel="environment steps, all batches")
        axis.spines[["top", "right"]].set_visible(False)
        if env != "cartpole":
            axis.set(yscale="log", xscale="log", ylabel="J* - J, median and quartiles")
    axes[2].set_ylabel("return of the last batch, mean and range")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    canvas.legend(handles.values(), handles.keys(), loc="lower center", ncols=7, frameon=False)
    canvas.tight_layout(rect=(0, 0.07, 1, 1))
    canvas.savefig(HERE / "curves.svg", metadata={"Date": None})


def main() -> None:
    runs = collect(HERE, [f"*/{env}-online" for env in SHOWN], read, order)
    tables = {"lqr": gaps(runs, "lqr1d"), "chain": gaps(runs, "chain3"), "cartpole": cartpole(runs)}
    write(HERE, tables)
    figure(runs)


if __name__ == "__main__":
    main()
