"""Writes this folder's tables and curves from the runs of `run.sh` (needs matplotlib).

`scores.jsonl` keeps what the tables are made of, one run a line; runs that are not there any more keep their lines.
"""

from pathlib import Path

import matplotlib
import numpy as np

from results.tables import Finished, Run, by_name, collect, write

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
LAST = 5  # evaluations averaged: the score's protocol
DATASETS = ["medium", "medium_replay", "expert"]
TITLES = {
    "bc": "BC",
    "td3_bc": "TD3+BC",
    "iql": "IQL",
    "cql": "CQL",
    "mopo": "MOPO",
    "cocoa-iql": "COCOA over IQL",
    "cocoa-mopo": "COCOA over MOPO",
    "rebrac": "ReBRAC",
    "edac": "EDAC, 10 critics",
    "sac_n": "SAC-N, 10 critics",
    "mobile": "MOBILE",
    "td3": "TD3, online",
    "sac": "SAC, online",
}
MAIN = list(TITLES)[:7]
OTHERS = [
    ("rebrac", "medium", 3000),
    ("mobile", "medium", 1000),
    ("edac", "medium", 3000),
    ("sac_n", "medium", 3000),
    ("td3", "online", 50000),
    ("sac", "online", 15000),
]
COLOURS = dict(zip(MAIN, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]


def read(run: Finished) -> Run:
    """What it was, and its scores `[evaluations, seeds]` with their steps."""
    config, data = run.config, run.directory.meta().get("dataset")
    scores = run.curve("eval/normalized_score", lambda x: round(x, 2))
    low, high = config["env"]["reference_min"], config["env"]["reference_max"]
    return {
        **run.named(),
        "steps": config["steps"],
        "seeds": config["seeds"],
        "data": round(100 * (data["return"]["mean"] - low) / (high - low), 1) if data else None,
        "minutes": run.minutes,
        "evaluated": list(scores),
        "scores": list(scores.values()),
    }


def find(runs: list[Run], algo: str, dataset: str, steps: int, seeds: int) -> Run | None:
    wanted = (f"{algo}/hopper-{dataset}/", steps, seeds)
    return next((r for r in runs if (r["run"].rpartition("/")[0] + "/", r["steps"], r["seeds"]) == wanted), None)


def cell(run: Run | None) -> str:
    """Mean over seeds of the mean of the last evaluations, with the standard deviation over seeds."""
    if run is None:
        return "not run"
    seeds = np.array(run["scores"])[-LAST:].mean(0)
    return f"{seeds.mean():.1f} ± {seeds.std(ddof=1):.1f} ({run['minutes']})"


def main_table(runs: list[Run]) -> list[str]:
    found = {(algo, name): find(runs, algo, name, 10000, 4) for algo in MAIN for name in DATASETS}
    data = [next((str(r["data"]) for (_, d), r in found.items() if d == name and r), "") for name in DATASETS]
    return [
        "| | " + " | ".join(DATASETS) + " |",
        "|---|" + "---|" * len(DATASETS),
        "| mean of the data | " + " | ".join(data) + " |",
        *(f"| {TITLES[algo]} | " + " | ".join(cell(found[algo, name]) for name in DATASETS) + " |" for algo in MAIN),
    ]


def others_table(runs: list[Run]) -> list[str]:
    rows = []
    for algo, dataset, steps in OTHERS:
        rows.append(f"| {TITLES[algo]} | {steps:,} | {cell(find(runs, algo, dataset, steps, 4))} |")
    return ["| | updates | score |", "|---|---|---|", *rows]


def longer_table(runs: list[Run]) -> list[str]:
    rows = []
    for algo in ("bc", "iql", "cocoa-iql", "mopo", "cocoa-mopo"):
        run = find(runs, algo, "medium", 20000, 3)
        seeds = ", ".join(f"{score:.1f}" for score in np.array(run["scores"])[-LAST:].mean(0)) if run else ""
        rows.append(f"| {TITLES[algo]} | {cell(run)} | {seeds} |")
    return ["| | score | each seed |", "|---|---|---|", *rows]


def curves(runs: list[Run]) -> None:
    figure, axes = plt.subplots(1, len(DATASETS), figsize=(13, 4), sharey=True)
    for axis, dataset in zip(axes, DATASETS, strict=True):
        for algo in MAIN:
            if (run := find(runs, algo, dataset, 10000, 4)) is None:
                continue
            scores = np.array(run["scores"])
            mean, spread = scores.mean(1), scores.std(1, ddof=1)
            axis.plot(run["evaluated"], mean, label=TITLES[algo], color=COLOURS[algo], linewidth=1.6)
            band = mean - spread, mean + spread
            axis.fill_between(run["evaluated"], *band, color=COLOURS[algo], alpha=0.12, linewidth=0)
        axis.set(title=f"hopper, {dataset} (embedded)", xlabel="updates")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("normalised score")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=len(MAIN), frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(HERE / "curves.svg", metadata={"Date": None})


def main() -> None:
    runs = collect(HERE, ["*/hopper-*"], read, by_name)
    write(HERE, {"main": main_table(runs), "others": others_table(runs), "longer": longer_table(runs)})
    curves(runs)


if __name__ == "__main__":
    main()
