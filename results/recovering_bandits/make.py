"""Writes this folder's tables and figure from the runs of `run.sh`, and the planner's own (needs matplotlib).

`scores.jsonl` keeps what the tables of runs are made of, one run a line; runs that are not there any more keep theirs.
"""

from pathlib import Path

import matplotlib
import numpy as np

from results.tables import Finished, Run, by_name, collect, spread, write
from rlbench.algos.planning.optimal_schedule import optimum
from rlbench.algos.planning.periodic import STANDARD, plan, rate, rounded, servers
from rlbench.algos.planning.relaxation import bound
from rlbench.envs.recovering_bandit import Random

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
METRICS = ("eval/mean_reward", "eval/regret", "eval/bound_regret", "eval/long_run_reward")
SMALL = {
    "recovering_bandit": "six arms that recover smoothly",
    "recovering_bandit_step": "four arms, nothing before a threshold",
    "recovering_bandit_patience": "two arms worth waiting for",
}
TITLES = {
    ("optimal_schedule", None): "exact optimum (curves known)",
    ("ppp", None): "PPP (curves known)",
    ("myopic_greedy", None): "myopic greedy (curves known)",
    ("ucb_ppp", 2.0): "UCB-PPP, c = 2",
    ("ucb_ppp", 0.1): "UCB-PPP, c = 0.1",
    ("ucb_greedy", 0.1): "UCB-greedy, c = 0.1",
    ("ucb1", 2.0): "UCB1",
    ("round_robin", None): "round robin",
    ("random_pulls", None): "random",
}
COLOURS = dict(zip(TITLES, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]


def read(run: Finished) -> Run:
    """What it was, and its metrics `[evaluations, seeds]` with their steps."""
    config = run.config
    found = {name: run.curve(name) for name in METRICS}
    last = {name: {step: each for step, each in found[name].items() if step == config["steps"]} for name in METRICS[1:]}
    found |= last
    return {
        **run.named(),
        "algo": config["algo"]["name"],
        "c": config["algo"].get("c"),
        "env": config["env"]["name"],
        "size": [config["env"].get("arms"), config["env"]["K"]],
        "steps": config["steps"],
        "seeds": config["seeds"],
        "minutes": run.minutes,
        "evaluated": list(found[METRICS[0]]),
        **{name: list(curve.values()) for name, curve in found.items() if curve},
    }


def find(runs: list[Run], key: tuple[str, float | None], env: str, steps: int) -> Run | None:
    return next((r for r in runs if ((r["algo"], r["c"]), r["env"], r["steps"]) == (key, env, steps)), None)


def cell(run: Run | None, name: str = METRICS[0], digits: int = 4) -> str:
    return "" if run is None else spread(run[name][-1], digits)


def online_table(runs: list[Run]) -> list[str]:
    lengths = (2000, 8000, 32000)
    rows = []
    for key, title in TITLES.items():
        found = [find(runs, key, "recovering_bandit", steps) for steps in lengths]
        rows.append(f"| {title} | {' | '.join(map(cell, found))} | {cell(found[-1], 'eval/regret', 0)} |")
    return [
        "| | T = 2,000 | T = 8,000 | T = 32,000 | regret at 32,000 |",
        "|---|---|---|---|---|",
        *rows,
    ]


def step_table(runs: list[Run]) -> list[str]:
    rows = []
    for key, title in TITLES.items():
        found = [find(runs, key, env, 32000) for env in ("recovering_bandit_step", "recovering_bandit_patience")]
        rows.append(f"| {title} | {' | '.join(map(cell, found))} |")
    return ["| | step | patience |", "|---|---|---|", *rows]


def full_table(runs: list[Run]) -> list[str]:
    rows = []
    for run in runs:
        if run["env"] == "recovering_bandit_random" and run["size"] == [1000, 200]:
            reward, regret = run["eval/mean_reward"][-1], np.array(run["eval/regret"][-1]) / run["steps"]
            rows.append(
                f"| {run['steps']:,} | {run['seeds']} | {spread(reward, 3)} | {spread(regret, 4)} | {run['minutes']} |"
            )
    return ["| T | seeds | reward of a period | regret of a period | minutes |", "|---|---|---|---|---|", *rows]


def sandwich_table() -> list[str]:
    rows = []
    for N, K, D in ((3, 1, 7), (4, 1, 6), (4, 2, 6), (5, 2, 5)):
        ratios = []
        for seed in range(6):
            env = Random("random", K, D, N, seed)
            best = env.long_run(optimum(env)[1])
            ratios.append((plan(env.R[None], K, **STANDARD).value[0] / best, best / bound(env.R, K)))
        (a, b), least = np.mean(ratios, 0), np.min(ratios, 0)[0]
        rows.append(f"| {N}, {K}, {D} | {a:.3f} ({least:.3f}) | {b:.3f} |")
    return ["| N, K, D | planner / optimum (least) | optimum / bound |", "|---|---|---|", *rows]


def scaling_table() -> list[str]:
    rows = []
    for N, K in ((20, 5), (60, 15), (200, 50), (400, 100), (1000, 200)):
        rounding, whole = [], []
        for seed in range(5):
            env = Random("random", K, 30, N, seed)
            above = bound(env.R, K)
            packed = [p for p in rounded(env.R[None], K) if servers(p).sum() <= K]
            rounding.append(max(rate(env.R[None], p)[0] for p in packed) / above)
            whole.append(plan(env.R[None], K, **STANDARD).value[0] / above)
        rows.append(f"| {N}, {K} | {np.mean(rounding):.3f} ({min(rounding):.3f}) | {np.mean(whole):.3f} |")
    return ["| N, K | rounding / bound (least) | planner / bound |", "|---|---|---|", *rows]


def curves(runs: list[Run]) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(16, 4.8))
    for axis, env, title in zip(axes, *zip(*SMALL.items(), strict=True), strict=True):
        for key, name in TITLES.items():
            run = find(runs, key, env, 32000)
            if run is None or key[0] == "optimal_schedule":
                continue
            reward = np.array(run["eval/mean_reward"])
            mean, deviation = reward.mean(1), reward.std(1, ddof=1)
            axis.plot(run["evaluated"], mean, label=name, color=COLOURS[key], linewidth=1.6)
            band = mean - deviation, mean + deviation
            axis.fill_between(run["evaluated"], *band, color=COLOURS[key], alpha=0.15, linewidth=0)
        optimal = find(runs, ("optimal_schedule", None), env, 32000)
        if optimal is not None:
            axis.axhline(optimal["eval/long_run_reward"][-1][0], color="black", linewidth=0.8, linestyle="--")
            axis.annotate("optimum", (400, optimal["eval/long_run_reward"][-1][0]), va="bottom", fontsize=8)
        axis.set(title=f"env={env}\n{title}", xlabel="periods", xscale="log")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("mean reward of a period since the beginning")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.11, 1, 1))
    figure.savefig(HERE / "curves.svg", metadata={"Date": None})


def main() -> None:
    runs = collect(HERE, ["*/recovering_bandit*-online"], read, by_name)
    tables = {
        "online": online_table(runs),
        "step": step_table(runs),
        "full": full_table(runs),
        "sandwich": sandwich_table(),
        "scaling": scaling_table(),
    }
    write(HERE, tables)
    curves(runs)


if __name__ == "__main__":
    main()
