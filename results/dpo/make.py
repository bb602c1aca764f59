"""Writes this folder's tables and figure from the runs of `run.sh` (needs matplotlib).

`scores.jsonl` keeps what they are made of, one run a line; runs that are not there any more keep theirs.
"""

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
SCORES = HERE / "scores.jsonl"
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

Run = dict[str, Any]


def read(folder: Path) -> Run:
    """One finished run: what it was, and its metrics `[evaluations, seeds]` with their steps."""
    config: Any = OmegaConf.load(folder / "config.yaml")
    words: Any = OmegaConf.to_container(OmegaConf.load(folder / "overrides.yaml"))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda r: (r["step"], r["seed"])):
        for name in METRICS:
            if name in row:
                found[name][row["step"]].append(round(row[name], 4))
    return {
        "run": "/".join(folder.parts[-3:]),
        "command": " ".join(["rlbench", *words]),
        "algo": config.algo.name,
        "reward": config.algo.get("reward"),
        "beta": config.env.beta,
        "pairs": config.dataset.pairs,
        "steps": config.steps,
        "seeds": config.seeds,
        "evaluated": sorted(found[METRICS[0]]),
        **{name: [values[step] for step in sorted(values)] for name, values in found.items()},
    }


def collect() -> list[Run]:
    known = {run["run"]: run for run in map(json.loads, SCORES.read_text().splitlines())} if SCORES.exists() else {}
    results = Path(os.environ.get("RLBENCH_RESULTS", "results")) / "runs"
    for status in results.glob("*/lm_enum-enum_pairs/*/status.json"):
        if json.loads(status.read_text())["state"] == "finished":
            run = read(status.parent)
            known[run["run"]] = run
    runs = sorted(known.values(), key=lambda run: run["run"])
    SCORES.write_text("".join(json.dumps(run) + "\n" for run in runs))
    return runs


def spread(values: Any) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


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
            rows.append(
                f"| {beta} | {spread(run['eval/gap_closure'][-1])} | {spread(share(run))} | {kl:.2f} | {reward:.2f} |"
            )
    return ["| beta | gap closure | reward / frontier | KL | reward |", "|---|---|---|---|---|", *rows]


def ordering_table(runs: list[Run]) -> list[str]:
    rows = []
    for (algo, reward), title in TITLES.items():
        if (run := find(runs, algo, reward, 0.5)) is not None:
            kl, earned = (np.mean(run[name][-1]) for name in ("eval/kl", "eval/reward"))
            rows.append(
                f"| {title} | {run['steps']:,} | {spread(run['eval/gap_closure'][-1])} | {kl:.2f} | {earned:.2f} |"
            )
    return ["| | examples | gap closure | KL | reward |", "|---|---|---|---|---|", *rows]


def scaling_table(runs: list[Run]) -> list[str]:
    found = [find(runs, "dpo", None, 0.5, pairs) for pairs in (600, 2000, 6000, 20000)]
    rows = [
        f"| {run['pairs']:,} | {spread(run['eval/gap_closure'][-1])} | {spread(run['eval/accuracy'][-1])} |"
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
    runs = collect()
    tables = {"price": price_table(runs), "ordering": ordering_table(runs), "scaling": scaling_table(runs)}
    page = HERE / "README.md"
    text = page.read_text()
    for name, table in tables.items():
        before, rest = text.split(f"<!-- {name} -->\n")
        after = rest.split("<!-- end -->\n", 1)[1]
        text = f"{before}<!-- {name} -->\n" + "\n".join(table) + f"\n<!-- end -->\n{after}"
    page.write_text(text)
    figure(runs)


if __name__ == "__main__":
    main()
