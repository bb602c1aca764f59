"""Writes README.md and curves.svg of this folder from the runs of `run.sh` (needs matplotlib)."""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from omegaconf import OmegaConf

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
LAST = 5  # evaluations averaged: the score's protocol
DATASETS = ["medium", "medium_replay", "expert"]
ORDER = ["bc", "td3_bc", "iql", "cql", "mopo", "cocoa-iql", "cocoa-mopo"]
TITLES = dict(zip(ORDER, ["BC", "TD3+BC", "IQL", "CQL", "MOPO", "COCOA over IQL", "COCOA over MOPO"], strict=True))
COLOURS = dict(zip(ORDER, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]


def read(folder: Path) -> dict[str, Any]:
    """One run's settings, scores `[evaluations, seeds]` with their steps, and seconds."""
    config = OmegaConf.load(folder / "config.yaml")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    scores: dict[int, list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r["step"], r["seed"])):
        if "eval/normalized_score" in row:
            scores[row["step"]].append(row["eval/normalized_score"])
    return {
        "config": config,
        "meta": json.loads((folder / "meta.json").read_text()),
        "steps": sorted(scores),
        "scores": np.array([scores[s] for s in sorted(scores)]),
        "seconds": max(row["time"] for row in rows),
    }


def cell(run: dict[str, Any] | None) -> str:
    """Mean over seeds of the mean of the last evaluations, with the standard deviation over seeds."""
    if run is None:
        return "not run"
    seeds = run["scores"][-LAST:].mean(0)
    return f"{seeds.mean():.1f} ± {seeds.std(ddof=1):.1f} ({run['seconds'] / 60:.1f})"


def main() -> None:
    root = Path(os.environ.get("RLBENCH_RESULTS", "results")) / "runs"
    runs: dict[tuple[str, str], dict[str, Any]] = {}
    for status in root.glob("*/hopper-*/*/status.json"):
        run = read(status.parent)
        algo = status.parts[-4]
        if json.loads(status.read_text())["state"] == "finished" and run["config"].seeds == 4:
            runs[algo, run["config"].dataset.level] = run

    lines = ["| | " + " | ".join(DATASETS) + " |", "|---|" + "---|" * len(DATASETS)]
    data = [next((r["meta"]["dataset"]["card"] for (_, d), r in runs.items() if d == name), None) for name in DATASETS]
    means = [f"{100 * (c['return']['mean'] + 20.272305) / 3254.572305:.1f}" if c else "" for c in data]
    lines.append("| mean of the data | " + " | ".join(means) + " |")
    lines += [f"| {TITLES[algo]} | " + " | ".join(cell(runs.get((algo, d))) for d in DATASETS) + " |" for algo in ORDER]
    table = "\n".join(lines)
    text = (HERE / "README.md").read_text()
    before, rest = text.split("<!-- table -->\n")
    after = rest.split("<!-- end -->\n")[1]
    (HERE / "README.md").write_text(f"{before}<!-- table -->\n{table}\n<!-- end -->\n{after}")

    figure, axes = plt.subplots(1, len(DATASETS), figsize=(13, 4), sharey=True)
    for axis, dataset in zip(axes, DATASETS, strict=True):
        for algo in ORDER:
            if (run := runs.get((algo, dataset))) is None:
                continue
            mean, spread = run["scores"].mean(1), run["scores"].std(1, ddof=1)
            axis.plot(run["steps"], mean, label=TITLES[algo], color=COLOURS[algo], linewidth=1.6)
            axis.fill_between(run["steps"], mean - spread, mean + spread, color=COLOURS[algo], alpha=0.12, linewidth=0)
        axis.set(title=f"hopper, {dataset} (embedded)", xlabel="updates")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("normalised score")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=len(ORDER), frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(HERE / "curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
