"""Writes this folder's tables and figure from the runs of `run.sh` (needs matplotlib).

`scores.jsonl` keeps what they are made of, one run a line; runs that are not there any more keep theirs.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from results.tables import Finished, Run, by_name, collect, spread, write

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
METRICS = ("eval/gap_closure", "eval/objective", "eval/reward", "eval/kl", "eval/frontier_reward", "eval/accuracy")
TITLES = {
    ("dpo", None): "DPO",
    ("cdpo", None): "conservative DPO, eps = 0.1",
    ("ipo", None): "IPO",
    ("preferred_ft", None): "Preferred-FT",
    ("unlikelihood", None): "unlikelihood, alpha = 0.1",
    ("best_of_n", "learned"): "best of 16, learned reward",
    ("rlhf_ppo", "learned"): "PPO, learned reward",
    ("rlhf_ppo", "ground_truth"): "PPO, true reward",
}
COLOURS = dict(zip(TITLES, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]


def read(run: Finished) -> Run:
    """What it was, and its metrics `[evaluations, seeds]` with their steps."""
    config = run.config
    found = {name: run.curve(name) for name in METRICS}
    return {
        **run.named(),
        "algo": config["algo"]["name"],
        "reward": config["algo"].get("reward"),
        "beta": config["env"]["beta"],
        "pairs": config["dataset"]["pairs"],
        "steps": config["steps"],
        "seeds": config["seeds"],
        "evaluated": list(found[METRICS[0]]),
        **{name: list(curve.values()) for name, curve in found.items() if curve},
    }


def share(run: Run) -> Any:
    """Reward over that of the frontier at the same divergence, for each seed."""
    return np.array(run["eval/reward"][-1]) / np.array(run["eval/frontier_reward"][-1])


def find(runs: list[Run], algo: str, reward: str | None, beta: float, pairs: int = 6000) -> Run | None:
    return next(
        (r for r in runs if (r["algo"], r["reward"], r["beta"], r["pairs"]) == (algo, reward, beta, pairs)), None
    )


def price_table(runs: list[Run]) -> list[str]:
    rows = []
    for beta in (0.1, 0.5, 1.0):
        if (run := find(runs, "dpo", None, beta)) is not None:
            kl, reward = (np.mean(run[name][-1]) for name in ("eval/kl", "eval/reward"))
            closed, earned = spread(run["eval/gap_closure"][-1], 3), spread(share(run), 3)
            rows.append(f"| {beta} | {closed} | {earned} | {kl:.2f} | {reward:.2f} |")
    return ["| beta | gap closure | reward / frontier | KL | reward |", "|---|---|---|---|---|", *rows]


def ordering_table(runs: list[Run]) -> list[str]:
    rows = []
    for (algo, reward), title in TITLES.items():
        if (run := find(runs, algo, reward, 0.5)) is not None:
            kl, earned = (np.mean(run[name][-1]) for name in ("eval/kl", "eval/reward"))
            rows.append(
                f"| {title} | {run['steps']:,} | {spread(run['eval/gap_closure'][-1], 3)} | {kl:.2f} | {earned:.2f} |"
            )
    return ["| | examples | gap closure | KL | reward |", "|---|---|---|---|---|", *rows]


def scaling_table(runs: list[Run]) -> list[str]:
    found = [find(runs, "dpo", None, 0.5, pairs) for pairs in (600, 2000, 6000, 20000)]
    rows = [
        f"| {run['pairs']:,} | {spread(run['eval/gap_closure'][-1], 3)} | {spread(run['eval/accuracy'][-1], 3)} |"
        for run in found
        if run is not None
    ]
    return ["| comparisons | gap closure | accuracy on held-out ones |", "|---|---|---|", *rows]


def figure(runs: list[Run]) -> None:
    """Reward against divergence, means over the seeds; every evaluation is a point, lines join those of a run."""
    canvas, axis = plt.subplots(figsize=(8, 5))
    frontier = []
    for run in runs:
        if run["pairs"] == 6000:
            kl, reward, most = (np.mean(run[name], 1) for name in ("eval/kl", "eval/reward", "eval/frontier_reward"))
            frontier += list(zip(kl, most, strict=True))
            key = run["algo"], run["reward"]
            axis.plot(kl, reward, marker="o", markersize=4, color=COLOURS[key], linewidth=0.8, label=TITLES[key])
    axis.plot(
        *zip(*sorted([(0, 0), *frontier]), strict=True), color="black", linewidth=1, linestyle="--", label="frontier"
    )
    axis.set(xlabel="KL from the reference", ylabel="reward", title="env=lm_enum, exact, mean of five seeds")
    axis.spines[["top", "right"]].set_visible(False)
    names = dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
    axis.legend(names.values(), names.keys(), frameon=False, fontsize=8)
    canvas.tight_layout()
    canvas.savefig(HERE / "frontier.svg", metadata={"Date": None})


def main() -> None:
    runs = collect(HERE, ["*/lm_enum-enum_pairs"], read, by_name)
    tables = {"price": price_table(runs), "ordering": ordering_table(runs), "scaling": scaling_table(runs)}
    write(HERE, tables)
    figure(runs)


if __name__ == "__main__":
    main()
