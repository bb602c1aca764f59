"""The best average reward in a small deterministic model: Howard's policy iteration, exact.

Howard, "Dynamic Programming and Markov Processes" (MIT Press, 1960), for models that may have several cycles. In a
deterministic model a policy is a function on the states, every state runs into a cycle, and sums along a path of 2^k
steps come from those of 2^(k-1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLOSE = 1e-12  # gains and values nearer than this are the same


@dataclass(frozen=True)
class Solution:
    """The best policy.

    Attributes:
        gain: average reward from each state on, `[n]`.
        action: what to do in each state, `[n]`.
    """

    gain: np.ndarray
    action: np.ndarray


def best_average(following: np.ndarray, reward: np.ndarray) -> Solution:
    """The policy with the largest average reward from every state.

    Args:
        following: the next state for each action and state, `[A, n]`.
        reward: its reward, `[A, n]`; -inf where an action is not allowed.
    """
    every = np.arange(following.shape[1])
    action = reward.argmax(0)
    while True:
        gain, value = evaluated(following[action, every], reward[action, every])
        target = gain[following]
        target[np.isneginf(reward)] = -np.inf
        most = target.max(0)
        score = np.where(target >= most - CLOSE, reward - gain + value[following], -np.inf)
        # An action is left only for a better one, never for one that is as good: that could go on for ever.
        kept = target[action, every] >= most - CLOSE
        better = ~kept | (score.max(0) > score[action, every] + CLOSE * max(1.0, float(np.abs(value).max())))
        if not better.any():
            return Solution(gain, action)
        action = np.where(better, score.argmax(0), action)


def evaluated(following: np.ndarray, reward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average reward and relative value of every state under a policy, `[n]` each.

    Args:
        following: the next state, `[n]`.
        reward: its reward, `[n]`.
    """
    n, doublings = len(following), int(np.ceil(np.log2(len(following)))) + 1
    end = following
    for _ in range(doublings):
        end = end[end]
    home, gain_of = np.arange(n), np.zeros(n)
    seen: set[int] = set()
    for start in np.unique(end).tolist():  # states of cycles
        if start in seen:
            continue
        cycle = [start]
        while (state := int(following[cycle[-1]])) != start:
            cycle.append(state)
        seen.update(cycle)
        home[cycle], gain_of[cycle] = start, reward[cycle].mean()
    gain = gain_of[end]
    # The first state of each cycle is worth 0; the others, the rewards above the average on the way there.
    step, value = following.copy(), reward - gain
    firsts = np.unique(home[np.unique(end)])
    step[firsts], value[firsts] = firsts, 0.0
    for _ in range(doublings):
        value = value + value[step]
        step = step[step]
    return gain, value
