"""Writes the planner's tables of this folder's page: against the exact optimum, and against the bound."""

from pathlib import Path

import numpy as np

from results.tables import write
from rlbench.algos.planning.optimal_schedule import optimum
from rlbench.algos.planning.periodic import STANDARD, plan, rate, rounded, servers
from rlbench.algos.planning.relaxation import bound
from rlbench.envs.recovering_bandit import Random


def sandwich_table() -> list[str]:
    rows = []
    for N, K, D in ((3, 1, 7), (4, 1, 6), (4, 2, 6), (5, 2, 5)):
        ratios = []
        for seed in range(30):
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


if __name__ == "__main__":
    write(Path(__file__).parent, {"sandwich": sandwich_table(), "scaling": scaling_table()})
