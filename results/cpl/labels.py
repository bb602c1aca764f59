"""How good labels of the pendulum's segments are, and what CPL's loss makes of the best policy.

`python results/cpl/labels.py FILE.npz...` holds the labels of each file against exact regret: value iteration over
angle, speed and torque on a grid, with the discount of the oracles. Prints their correlations, and CPL's loss of the
optimal policy, and of one that repeats the data, over random pairs ranked by `rl_sum`.
"""

import sys
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from rlbench.algos.preference.contrast import agreement, contrastive_loss

GAMMA = 0.99
SPEED, TORQUE = 8.0, 2.0  # Pendulum-v1's bounds
GRID = 241, 241, 21
ALPHA = 0.1  # the temperature of algo=cpl
PAIRS = 20_000


class Pendulum:
    """Pendulum-v1 with exact values.

    Attributes:
        value: V* at angles and speeds of the grid, from 600 rounds at most of value iteration.
    """

    def __init__(self) -> None:
        angles, speeds, self.torques = (
            torch.linspace(-end, end, count, dtype=torch.float64)
            for end, count in zip((torch.pi, SPEED, TORQUE), GRID, strict=True)
        )
        self.value = torch.zeros(GRID[:2], dtype=torch.float64)
        everywhere = torch.meshgrid(angles, speeds, self.torques, indexing="ij")
        for _ in range(600):
            value = self.q(*everywhere).amax(-1)
            change, self.value = (value - self.value).abs().max(), value
            if change < 1e-2:
                return
        raise AssertionError(f"value iteration does not settle: {change}")

    def q(self, angle: Tensor, speed: Tensor, torque: Tensor) -> Tensor:
        """Q*, values between the grid's points being linear in angle and speed."""
        speed_after = (speed + (15 * angle.sin() + 3 * torque) * 0.05).clamp(-SPEED, SPEED)
        angle_after = (angle + speed_after * 0.05 + torch.pi) % (2 * torch.pi)
        across = angle_after / (2 * torch.pi) * (GRID[0] - 1)
        along = (speed_after + SPEED) / (2 * SPEED) * (GRID[1] - 1)
        left, low = across.long().clamp(max=GRID[0] - 2), along.long().clamp(max=GRID[1] - 2)
        x, y = across - left, along - low
        below = torch.lerp(self.value[left, low], self.value[left + 1, low], x)
        above = torch.lerp(self.value[left, low + 1], self.value[left + 1, low + 1], x)
        return -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2) + GAMMA * torch.lerp(below, above, y)

    def judge(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """A* of actions in [-1, 1], and the best actions, `[N, T]` both."""
        cosine, sine, speed = observation.unbind(-1)
        angle = torch.atan2(sine, cosine)
        every = torch.stack([self.q(angle, speed, torque.expand_as(angle)) for torque in self.torques])
        best, which = every.max(0)
        return self.q(angle, speed, TORQUE * action[..., 0]) - best, self.torques[which] / TORQUE


def study(pendulum: Pendulum, path: str) -> tuple[list[str], list[str]]:
    """The rows of a file in both tables."""
    with np.load(path) as file:
        labels = {name: file[name] for name in file.files if file[name].ndim == 1}
        observation, action = (torch.from_numpy(file[name]).double() for name in ("obs", "action"))
    advantage, best = pendulum.judge(observation, action)
    regret = advantage.sum(1).numpy()
    known = [f"| {path} | {name} | {np.corrcoef(each, regret)[0, 1]:.2f} |" for name, each in labels.items()]
    first, second = np.random.default_rng(0).integers(0, len(regret), (2, PAIRS))
    label = torch.from_numpy(labels["rl_sum"][second] > labels["rl_sum"][first]).double()[None]
    losses = []
    for policy, actions in (("the best", best), ("the data's own actions", action[..., 0])):
        score = -ALPHA * (action[..., 0] - actions).square().sum(1)
        score = torch.cat([score[first], score[second]])[None]
        each = [f"{contrastive_loss(score, label, conservatism).item():.2f}" for conservatism in (0.5, 0.75, 1.0)]
        losses.append(f"| {' | '.join([path, policy, f'{agreement(score, label).item():.2f}', *each])} |")
    return known, losses


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    pendulum = Pendulum()
    known, losses = (chain(*rows) for rows in zip(*(study(pendulum, path) for path in sys.argv[1:]), strict=True))
    print("| segments | label | correlation with exact regret |", "|---|---|---:|", *known, sep="\n")
    print(
        "\n| segments | policy | agreement | lambda 0.5 | 0.75 | 1 |",
        "|---|---|---:|---:|---:|---:|",
        *losses,
        sep="\n",
    )
