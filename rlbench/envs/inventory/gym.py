"""Inventory problems as gymnasium environments, one network at a time, for algorithms that know nothing else."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

from rlbench import config, paths
from rlbench.choices import read
from rlbench.envs.inventory.network import WINDOW
from rlbench.envs.inventory.problems import Inventory
from rlbench.envs.inventory.simulator import Simulator
from rlbench.envs.inventory.task import begun
from rlbench.rng import SeedStreams

Info = dict[str, Any]


class InventoryEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A network of stock. An episode is a trace; the reward is minus the cost of a store's period.

    An action has an entry in [-1, 1] for every link, from no order to four times the mean demand that the link serves.
    A supplier that has less ships in proportion; one that can keep nothing ships all it has. Observed is all stock, on
    hand and on its way.

    Args:
        problem: the problem; episodes are as long as its training traces.
    """

    def __init__(self, problem: Inventory) -> None:
        self.problem = problem
        network = problem.network
        self.simulator = Simulator(network)
        mean = np.array(problem.demand.mean)
        self.most = 4 * np.array(
            [mean[link.target] if link.target < network.stores else mean.sum() for link in network.links]
        )
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (len(network.used),), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(network.links),), np.float32)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[np.ndarray, Info]:
        super().reset(seed=seed)
        streams = SeedStreams([int(self.np_random.integers(2**31))], "episode")
        law, length = self.problem.demand, self.problem.train.periods
        mean = torch.tensor(law.mean, dtype=torch.float32)
        self.traces = begun(self.problem, mean, law.draw(streams, 1, length), law.calendar(length), streams)
        self.stock = self.simulator.start(self.traces)
        self.period = 0
        return self.observed(), {}

    def observed(self) -> np.ndarray:
        return self.stock.flatten()[self.problem.network.used].numpy()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Info]:
        network = self.problem.network
        orders = (np.clip(action, -1.0, 1.0) + 1) / 2 * self.most
        on_hand = self.stock[0, 0, :, 0].numpy()
        for supplier, links in network.suppliers.items():
            if not network.keeps and not orders[links].any():
                orders[links] = 1.0  # what cannot be kept is shipped, whoever asks for it
            share = max(on_hand[supplier], 0.0) / max(orders[links].sum(), 1e-9)
            orders[links] *= min(1.0, share) if network.keeps else share
        demand = self.traces.demand[..., WINDOW + self.period]
        ordered = torch.from_numpy(orders.astype(np.float32))[None, None]
        self.stock, cost = self.simulator.step(self.stock, ordered, demand, self.traces.underage)
        self.period += 1
        info = {"orders": orders, "demand": demand[0, 0].numpy()}
        over = self.period >= self.problem.train.periods
        return self.observed(), -float(cost) / network.stores, False, over, info


def make(problem: str, **settings: Any) -> InventoryEnv:
    """What gymnasium makes of `Inventory-v0`.

    Args:
        problem: one of those that `rlbench list env` shows as inventory, e.g. `inv_one_store`.
        settings: what is to differ from its file.
    """
    content = read(paths.conf_root() / "env" / f"{problem}.yaml")
    env: Inventory = config.instantiate({**content, **settings})
    env.require()
    return InventoryEnv(env)


gymnasium.register("Inventory-v0", entry_point="rlbench.envs.inventory.gym:make")
