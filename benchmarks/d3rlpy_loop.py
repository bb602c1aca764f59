"""d3rlpy's side of a race: the algorithm as its own `fit` loop drives it, on transitions without structure.

Runs where d3rlpy is installed beside rlbench (`pip install d3rlpy`); `python -m benchmarks.speed races` then finds it.

python -m benchmarks.d3rlpy_loop ALGO SECONDS
"""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout

import d3rlpy
import numpy as np
import torch

from benchmarks.race import serve

ROWS, OBSERVATION, ACTION, EPISODE = 100_000, 11, 3, 1000
DEEP = d3rlpy.models.VectorEncoderFactory([256, 256, 256])  # CQL's networks, as in its paper's code; d3rlpy: two layers
ALGORITHMS = {
    "td3_bc": lambda: d3rlpy.algos.TD3PlusBCConfig(batch_size=256),
    "iql": lambda: d3rlpy.algos.IQLConfig(batch_size=256),
    "cql": lambda: d3rlpy.algos.CQLConfig(batch_size=256, actor_encoder_factory=DEEP, critic_encoder_factory=DEEP),
}


def loop(name: str) -> Callable[[int], None]:
    """Updates, each on a minibatch that d3rlpy draws."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    data = d3rlpy.dataset.MDPDataset(
        rng.normal(size=(ROWS, OBSERVATION)).astype(np.float32),
        rng.uniform(-1, 1, (ROWS, ACTION)).astype(np.float32),
        rng.normal(size=(ROWS, 1)).astype(np.float32),
        np.arange(ROWS) % EPISODE == EPISODE - 1,
    )
    algorithm = ALGORITHMS[name]().create(device="cpu")
    algorithm.build_with_dataset(data)

    def steps(count: int) -> None:
        for _ in range(count):
            algorithm.update(data.sample_transition_batch(256))

    return steps


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # where it says what it finds; the race reads the output
        steps = loop(sys.argv[1])
    serve(steps, float(sys.argv[2]), 0.0)
