"""Writes this folder's tables and figure from the runs of `run.sh` (needs matplotlib).

`scores.jsonl` keeps what they are made of, one run a line; runs that are not there any more keep theirs.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from results.tables import Finished, Run, by_name, collect, write

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
TITLES = {
    "newsvendor": "optimum (closed form)",
    "lost_sales_vi": "optimum (value iteration)",
    "clark_scarf": "optimum (Clark and Scarf)",
    "federgruen_zipkin": "lower bound, and myopic allocation",
    "base_stock": "base stock, learned",
    "capped_base_stock": "capped base stock, learned",
    "echelon_stock": "echelon stock, learned",
    "hdpo": "HDPO, plain network",
    "hdpo_gnn": "HDPO, graph network",
    "hdpo_data_driven": "HDPO, sees past demand and season",
    "inventory_reinforce": "REINFORCE",
    "inventory_reward_to_go": "REINFORCE, reward to go",
    "inventory_ppo": "PPO",
    "just_in_time": "just in time (knows the future)",
    "returns_newsvendor": "newsvendor on forecasts, may return goods",
    "quantile_newsvendor": "newsvendor on forecasts",
    "fixed_quantile": "one learned quantile",
    "transformed_newsvendor": "learned map of quantiles",
}


def read(run: Finished) -> Run:
    """What it was, and its costs `[evaluations, seeds]` with their steps."""
    config = run.config
    costs, bounds = run.curve("eval/cost"), [values[-1] for values in run.curve("eval/bound").values()]
    return {
        **run.named(),
        "algo": config["algo"]["name"],
        "env": config["env"]["name"],
        "lead": config["env"].get("lead_time"),
        "steps": config["steps"],
        "seeds": config["seeds"],
        "minutes": run.minutes,
        "evaluated": list(costs),
        "costs": list(costs.values()),
        "bound": bounds[-1] if bounds else None,
        "batch": config["algo"]["batch_size"],
        "periods": config["env"]["train"]["periods"],
    }


def table(runs: list[Run], *, profit: bool = False, **asked: Any) -> list[str]:
    """A row for every run that is as asked, and how far it is above the optimum or bound."""
    found = [run for run in runs if all(run[key] == value for key, value in asked.items())]
    found.sort(key=lambda run: (list(TITLES).index(run["algo"]), run["steps"]))
    bound = next((run["bound"] for run in found if run["bound"] is not None), None)
    rows = [
        "| | steps x traces x periods | " + ("profit" if profit else "cost") + " | above the bound | minutes |",
        "|---|---|---|---|---|",
    ]
    for run in found:
        costs = np.array(run["costs"][-1]) * (-1 if profit else 1)
        above = f"{100 * (costs.mean() / bound - 1):+.1f} %" if bound else ""
        work = (
            f"{run['steps']:,} x {run['batch']:,} x {run['periods']}"
            if run["bound"] is None and run["steps"] > 1
            else ""
        )
        value = f"{costs.mean():.3f} ± {costs.std(ddof=1):.3f}"
        rows.append(f"| {TITLES[run['algo']]} | {work} | {value} | {above} | {run['minutes']} |")
    if bound:
        rows.insert(2, f"| **the bound itself** | | {bound:.3f} | | |")
    return rows


def curves(runs: list[Run]) -> None:
    """Cost over steps at equal simulated periods."""
    figure, axis = plt.subplots(figsize=(7, 4.2))
    for name in ("hdpo", "inventory_reinforce", "inventory_reward_to_go", "inventory_ppo"):
        for run in runs:
            if (run["algo"], run["env"], run["steps"]) == (name, "inv_one_store", 100):
                costs = np.array(run["costs"])
                axis.plot(run["evaluated"], costs.mean(1), label=TITLES[name], marker="o", markersize=3)
                axis.fill_between(run["evaluated"], costs.min(1), costs.max(1), alpha=0.15, linewidth=0)
    axis.axhline(6.2788, color="black", linewidth=0.8, linestyle="--")
    axis.annotate("optimum", (60, 6.2788), va="bottom", fontsize=8)
    axis.set(
        yscale="log", xlabel="updates, 128 traces of 50 periods each", ylabel="cost of a period (best on dev so far)"
    )
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(HERE / "gradients.svg", metadata={"Date": None})


def main() -> None:
    runs = collect(HERE, ["*/inv_*-online"], read, by_name)
    compared = [run for run in runs if run["env"] == "inv_one_store" and run["steps"] == 100]
    plain = [run for run in runs if run not in compared]
    tables = {
        "store": table(plain, env="inv_one_store"),
        "lost2": table(runs, env="inv_one_store_lost", lead=2),
        "lost4": table(runs, env="inv_one_store_lost", lead=4),
        "chain": table(runs, env="inv_serial"),
        "hub": table(runs, env="inv_transshipment"),
        "gradients": table(compared),
        "seasons": table(runs, profit=True, env="inv_one_store_seasonal"),
    }
    write(HERE, tables)
    curves(runs)


if __name__ == "__main__":
    main()
