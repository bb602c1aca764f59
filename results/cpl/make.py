"""Writes this folder's tables and figure from the runs of `run.sh` (needs matplotlib).

`scores.jsonl` keeps what they are made of, one run a line; runs that are not there any more keep theirs.
"""

from pathlib import Path

import matplotlib
import numpy as np

from results.tables import Finished, Run, by_name, collect, spread, write

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
METRICS = ("return", "total_variation", "soft_regret", "regret", "gain")
ALGORITHMS = {"cpl": "CPL", "cpl_kl": "CPL-KL", "cpl_bc": "CPL-BC", "pref_sft": "SFT of preferred", "piql": "P-IQL"}


def read(run: Finished) -> Run:
    """What it was, and its metrics `[evaluations, seeds]` with their steps."""
    config = run.config
    found = {name: run.curve(f"eval/{name}", lambda x: float(f"{x:.5g}")) for name in METRICS}
    return {
        **run.named(),
        "algo": config["algo"]["name"],
        "env": config["env"]["name"],
        "label": config["dataset"].get("label"),
        "steps": list(found["return"]),
        **{name: list(curve.values()) for name, curve in found.items() if curve},
    }


def reacher_table(runs: list[Run]) -> list[str]:
    oracles = [run for run in runs if run["algo"] == "sac"]
    rows = [f"| SAC, {run['steps'][-1]:,} steps |  | {run['return'][-1][0]:.2f} |" for run in oracles]
    for run in of_reacher(runs):
        label = "regret" if run["label"] == "rl_sum" else "partial return"
        before = spread(run["return"][run["steps"].index(2500)], 2) if run["algo"] != "piql" else ""
        rows.append(f"| {ALGORITHMS[run['algo']]}, labels by {label} | {before} | {spread(run['return'][-1], 2)} |")
    return ["| | cloned, step 2,500 | step 5,000 |", "|---|---|---|", *rows]


def of_reacher(runs: list[Run]) -> list[Run]:
    order = list(ALGORITHMS)
    found = [run for run in runs if run["env"] == "reacher" and run["algo"] in order]
    return sorted(found, key=lambda run: (order.index(run["algo"]), run["label"] != "rl_sum"))


def exact_table(runs: list[Run]) -> list[str]:
    order = list(ALGORITHMS)
    rows = []
    for run in sorted(runs, key=lambda run: (run["env"], order.index(run["algo"]) if run["algo"] in order else 9)):
        if run["env"] == "reacher":
            continue
        command = " ".join(word for word in run["command"].split() if not word.startswith("tracking="))
        far = f"{run['total_variation'][-1][0]:.1g}" if "total_variation" in run else ""
        gain = f"{run['gain'][-1][0]:.4f}" if "gain" in run else ""
        rows.append(f"| `{command}` | {run['return'][-1][0]:.2f} | {far} | {gain} |")
    return ["| command | return | total variation | gain |", "|---|---|---|---|", *rows]


def curves(runs: list[Run]) -> None:
    figure, axis = plt.subplots(figsize=(7.5, 4.5))
    for run in of_reacher(runs):
        values = np.array(run["return"])
        mean, deviation = values.mean(1), values.std(1, ddof=1)
        regret = run["label"] == "rl_sum"
        name = ALGORITHMS[run["algo"]] + ("" if regret else ", partial return")
        (line,) = axis.plot(run["steps"], mean, label=name, linestyle="-" if regret else "--")
        axis.fill_between(
            run["steps"], mean - deviation, mean + deviation, color=line.get_color(), alpha=0.15, linewidth=0
        )
    axis.axvline(2500, color="black", linewidth=0.8, linestyle=":")
    axis.annotate("cloning ends", (2550, axis.get_ylim()[0]), va="bottom", fontsize=8)
    axis.set(xlabel="updates", ylabel="return (mean and standard deviation of 3 seeds)", title="Reacher-v5")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(HERE / "curves.svg", metadata={"Date": None})


def main() -> None:
    runs = collect(HERE, ["*/*-exact", "*/reacher-*"], read, by_name)
    write(HERE, {"reacher": reacher_table(runs), "exact": exact_table(runs)})
    if of_reacher(runs):
        curves(runs)


if __name__ == "__main__":
    main()
