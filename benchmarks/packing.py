"""What seeds cost together: updates of the bare algorithm, one thread, for 1 to 16 seeds in one process.

    python benchmarks/packing.py [ALGO...] [--hidden 64 256] [--seeds 1 2 4 8 16] [--rounds 5]

One JSON line for each algorithm and width: for each number of seeds, the processor seconds of an update of one seed,
as a ratio to one seed alone: above 1, packing pays. The sizes take turns; a ratio is the median over the rounds.
"""

import argparse
import json
import statistics
import time

from rlbench import config, cpu
from rlbench.build import Algorithm, build
from rlbench.nets.matmul import choose_matmul_backend

SECONDS = 2.0  # of processor time for one size in one round


def prepared(algo: str, hidden: int, seeds: int) -> tuple[Algorithm, int]:
    """An algorithm that has begun, and updates that take about `SECONDS`."""
    words = [f"algo={algo}", "env=hopper", f"seeds={seeds}", "tracking=disabled"]
    depth = len(config.compose(words).algo.hidden_dims)
    words.append(f"algo.hidden_dims={[hidden] * depth}")
    if algo == "sac":
        words += ["algo.start_steps=300", "algo.buffer_size=20000"]
    algorithm, _ = build(config.compose(words))
    algorithm.train(300 if algo == "sac" else 10)
    began = time.process_time()
    algorithm.train(5)
    return algorithm, max(1, round(5 * SECONDS / (time.process_time() - began)))


def measure(algo: str, hidden: int, sizes: list[int], rounds: int) -> dict[int, list[float]]:
    """Processor seconds of an update of one seed, by the number of seeds, for every round."""
    subjects = {seeds: prepared(algo, hidden, seeds) for seeds in sizes}
    cost: dict[int, list[float]] = {seeds: [] for seeds in sizes}
    for _ in range(rounds):
        for seeds, (algorithm, n) in subjects.items():
            began = time.process_time()
            algorithm.train(n)
            cost[seeds].append((time.process_time() - began) / (n * seeds))
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("algos", nargs="*", default=["td3_bc", "iql", "cql", "sac"], metavar="ALGO")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    cpu.settle(1)
    choose_matmul_backend()
    for algo in given.algos:
        for hidden in given.hidden:
            cost = measure(algo, hidden, given.seeds, given.rounds)
            alone = cost[given.seeds[0]]
            ratio = {n: statistics.median(a / b for a, b in zip(alone, each, strict=True)) for n, each in cost.items()}
            print(
                json.dumps(
                    {
                        "algo": algo,
                        "hidden": hidden,
                        "updates_per_second_alone": round(1 / statistics.median(alone), 1),
                        "gain": {n: round(value, 2) for n, value in ratio.items()},
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
