"""Cal-QL: returns to go of known episodes; CQL where it must be, to the bit; a torch.nn reference; what it is for."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlbench.algos.hybrid.returns import ReturnReplay, returns_to_go
from rlbench.data.sampling import Batch
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError
from rlbench.rng import SeedStreams
from tests.algos.acting import Episodes
from tests.algos.helpers import Columns, build, descend, exact_and_independent, minibatches, synthetic
from tests.algos.point import POINT, recorded
from tests.algos.soft import PlainSAC

DATA = recorded()
SMALL: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 16}


def going_on(rewards: list[float], over: bool, gamma: float) -> list[float]:
    """Returns to go of one episode, summed term by term; a cut one goes on with its last reward, 400 times."""
    rest = [] if over else 400 * [rewards[-1]]
    return [sum(gamma**k * r for k, r in enumerate([*rewards[t:], *rest])) for t in range(len(rewards))]


EPISODES = [([1.0, 2.0, 4.0], True), ([5.0], False), ([0.0, 0.0, 3.0], False), ([-1.0], True), ([7.0, -2.0], False)]


def test_returns_of_known_episodes() -> None:
    """Of episodes that ended, that were cut, and of the last one, where the recording stopped."""
    reward = np.concatenate([rewards for rewards, _ in EPISODES])
    ends, over = np.array([3, 4, 7, 8, 10]), np.array([over for _, over in EPISODES])
    found = returns_to_go(reward, ends, over, 0.9)
    assert found[:4] == pytest.approx([1 + 0.9 * 2 + 0.81 * 4, 2 + 0.9 * 4, 4, 5 / 0.1])
    assert found == pytest.approx([v for rewards, over in EPISODES for v in going_on(rewards, over, 0.9)])


def test_returns_of_the_dataset() -> None:
    """With the shift of rewards, beside the right rows."""
    data = synthetic(90, 1, 1)  # ends after 20, cut and over by turns; the last ten rows are an unfinished episode
    calql = build("calql", data, env=POINT, reward_shift=0.5, gamma=0.9, **SMALL)
    expected: list[float] = []
    for start in range(0, 90, 20):
        rewards = (data.reward[start : start + 20] + 0.5).tolist()
        expected += going_on(rewards, over=start in (20, 60), gamma=0.9)
    assert calql.dataset_rows()[:, -1].numpy() == pytest.approx(np.array(expected), rel=1e-4)
    assert torch.equal(calql.dataset_rows()[:, :1], torch.tensor(data.observation))


def test_replay_draws_rows_of_ended_episodes_with_their_returns() -> None:
    """Two seeds whose episodes end apart, one of them longer than the ring of ten rows."""
    rng = np.random.default_rng(0)
    replay = ReturnReplay(2, 10, 5, reward=2, reward_shift=-0.5, gamma=0.9)
    stream = SeedStreams((0, 1), "minibatches")
    lengths = [iter([2, 3, 1, 15, 4, 100]), iter([6, 1, 1, 2, 3, 4, 100])]
    left = [next(each) for each in lengths]
    running: list[list[tuple[int, float]]] = [[], []]
    returns: list[dict[int, float]] = [{}, {}]
    for step in range(28):
        reward = rng.normal(size=2)
        ended, over = np.zeros((2, 2), dtype=bool)
        for seed in (0, 1):
            running[seed].append((step, reward[seed] - 0.5))
            left[seed] -= 1
            if left[seed] == 0:
                ended[seed] = True
                over[seed] = step % 2
                values = going_on([r for _, r in running[seed]], bool(over[seed]), 0.9)
                returns[seed] |= dict(zip((n for n, _ in running[seed]), values, strict=True))
                running[seed], left[seed] = [], next(lengths[seed])
        rows = np.stack([[step, step], [0, 0], reward, [0, 0], over], axis=1).astype(np.float32)
        replay.append(torch.tensor(rows)[:, None], ended)
        kept = [{n: v for n, v in returns[seed].items() if n > step - 10} for seed in (0, 1)]
        assert replay.ready().tolist() == [len(each) for each in kept]
        for seed, drawn in enumerate(replay.sample(300, stream)):
            if kept[seed]:
                found = dict(zip(drawn[:, 0].int().tolist(), drawn[:, -1].tolist(), strict=True))
                assert found == pytest.approx(kept[seed], rel=1e-5)


def batches(data: Transitions, v: float) -> Iterator[Batch]:
    """Minibatches with the same return to go in every row."""
    for s, a, r, s2, d, _ in minibatches(data, 0, 16):
        yield Batch(s[None], a[None], r[None], s2[None], d[None], torch.full((1, 16, 1), v))


def test_is_cql_to_the_bit_where_nothing_is_known_of_returns() -> None:
    calql = build("calql", DATA, env=POINT, cql_weight=2.0, **SMALL)
    cql = build("cql", DATA, cql_weight=2.0, **SMALL)
    for _, batch in zip(range(30), batches(DATA, -torch.inf), strict=False):
        found, expected = calql.update(batch), cql.update(batch)
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    for group, params in cql.params.items():
        for name, value in params.items():
            assert torch.equal(calql.params[group][name], value), f"{group} {name}"


def test_does_not_push_down_the_policy_below_returns() -> None:
    """Under a huge V, values of the policy's actions have no gradient; what is left pushes those of the data up."""
    calql = build("calql", DATA, env=POINT, cql_weight=2.0, **SMALL)
    batch = next(batches(DATA, 1e4))
    q = torch.randn(2, 3, 10, 16, 1, requires_grad=True)
    calql.drawn_values(q, batch).sum().backward()
    assert q.grad is not None
    assert q.grad.amax((0, 2, 3, 4)).tolist() == q.grad.amin((0, 2, 3, 4)).tolist() == [0, 0, 1]
    params = {name: value.clone().requires_grad_() for name, value in calql.params["critic"].items()}
    y = calql.target(batch)
    loss, _ = calql.critic_loss(params, batch, y)
    q_data = calql.critic(params, batch.observation, batch.action)
    alone = 2 * ((q_data - y) ** 2).mean() - 2 * 2.0 * q_data.mean()
    grads, expected = (torch.autograd.grad(each.sum(), list(params.values())) for each in (loss, alone))
    for found, value in zip(grads, expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-5)


class PlainCalQL(PlainSAC):
    """Seed number k of Cal-QL, with a life of its own whose returns are summed term by term; rewards are 0.7 lower."""

    gamma = 0.9

    def __init__(self, algorithm: Any, k: int, seed: int) -> None:
        super().__init__(algorithm, None, k, seed, 16)
        self.optimise(1e-4, 3e-4, 1e-4)
        self.uniform = SeedStreams((seed,), "uniform actions")
        self.draws = minibatches(DATA, seed, 16, purpose="offline minibatches")
        self.returns = torch.tensor(
            [going_on([r - 0.7], bool(over), 0.9)[0] for r, over in zip(DATA.reward, DATA.terminated, strict=True)]
        )
        self.episodes = Episodes(seed)
        self.known: list[float] = []
        """Returns to go of all rows of ended episodes, the oldest first."""

    def live(self) -> None:
        episodes, played = self.episodes, self.episodes.played
        with torch.no_grad():
            episodes.act(self.squash(episodes.state[None], episodes.exploration.normal(1, 1)[0])[0][0])
        if episodes.played > played:
            rows = torch.stack(episodes.rows[len(self.known) :])
            self.known += going_on((rows[:, 2] - 0.7).tolist(), bool(rows[-1, -1]), 0.9)

    def batch(self, online: bool) -> tuple[Columns, Tensor]:
        """A minibatch and V: of the dataset, or, once an episode has ended, half of each source."""
        data = next(self.draws)
        v = self.returns[data.row][:, None]
        if not online:
            return data, v
        index = self.episodes.draws.integers(max(1, len(self.known)), 8)[0]
        if not self.known:
            return data, v
        lived = torch.stack(self.episodes.rows)[index].split(1, dim=1)
        columns = (torch.cat([d[:8], o]) for d, o in zip(data, lived, strict=False))
        return Columns(*columns), torch.cat([v[:8], torch.tensor(self.known)[index][:, None]])

    def update(self, batch: Columns, v: Tensor) -> tuple[float, float]:
        """One update; returns the losses of critics and actor."""
        batch = batch._replace(reward=batch.reward - 0.7)
        actor_loss = self.update_actor(batch)
        y = self.target(batch, entropy=False)
        with torch.no_grad():
            noise, uniform = self.noise.normal(2, 10, 16, 1)[0], self.uniform.uniform(1, 10, 16, 1)[0, 0]
            states = batch.observation, batch.next_observation
            policy = [self.squash(state, noise[kind, i]) for kind, state in enumerate(states) for i in range(10)]
        error = gap = torch.tensor(0.0)
        for critic in self.critics:
            q = critic(torch.cat([batch.observation, batch.action], 1))
            values = [torch.maximum(critic(torch.cat([batch.observation, a], 1)), v) - p for a, p in policy]
            values += [critic(torch.cat([batch.observation, 2 * u - 1], 1)) + np.log(2) for u in uniform]
            error = error + ((q - y) ** 2).mean()
            gap = gap + 2.0 * (torch.stack(values).exp().sum(0).log().mean() - q.mean())
        descend(self.critic_optimizer, error + gap)
        self.follow()
        return error.item(), actor_loss


def test_matches_reference() -> None:
    """Two seeds whose first episodes end apart; eight updates before."""
    small: dict[str, Any] = {"offline_steps": 8, "gamma": 0.9, "reward_shift": -0.7, "cql_weight": 2.0, **SMALL}
    calql = build("calql", DATA, (0, 5), env=POINT, **small)
    plains = [PlainCalQL(calql, k, seed) for k, seed in enumerate((0, 5))]
    metrics = calql.train(50)
    for k, plain in enumerate(plains):
        for step in range(50):
            if step >= 8:
                plain.live()
            critic_loss, actor_loss = plain.update(*plain.batch(step >= 8))
        assert metrics["train/critic_loss"][k].item() == pytest.approx(critic_loss, rel=1e-4)
        assert metrics["train/actor_loss"][k].item() == pytest.approx(actor_loss, rel=1e-4)
        plain.check(calql.params)
    assert len({tuple(plain.known) for plain in plains}) == 2
    assert all(len(plain.known) > 20 for plain in plains)


def test_learns_online_what_the_data_lack() -> None:
    """Data of actions to the right alone: no better than doing nothing, before each seed tries the left for itself."""
    whole = recorded(1200)
    data = Transitions(np.ascontiguousarray(whole.table[whole.action[:, 0] > 0]), 1, 1)
    rates: dict[str, Any] = dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "alpha_learning_rate"), 3e-3)
    small: dict[str, Any] = {"hidden_dims": [32, 32], "batch_size": 32, "cql_weight": 0.5, "tau": 0.02, "gamma": 0.9}
    calql = build("calql", data, (0, 1), env=POINT, offline_steps=200, **small, **rates)
    best = calql.task.evaluate(lambda state: (-2 * state).clamp(-1, 1))["eval/return"]
    idle = calql.task.evaluate(torch.zeros_like)["eval/return"]
    lost = []
    for steps in (200, 400):
        calql.train(steps)
        lost.append((best - calql.evaluate()["eval/return"]) / (best - idle))
    assert (lost[0] > 0.8).all(), lost
    assert (lost[1] < 0.2).all(), lost


def test_exact_and_independent() -> None:
    """Cut in both phases, in the middle of episodes."""
    for cut in (5, 23):
        exact_and_independent("calql", DATA, (cut, 18), env=POINT, offline_steps=10, hidden_dims=[16], batch_size=8)


def test_refuses() -> None:
    with pytest.raises(UsageError, match="each source needs one"):
        build("calql", DATA, env=POINT, offline_fraction=1.0, **SMALL)
    with pytest.raises(UsageError, match=r"algo\.gamma=1"):
        build("calql", DATA, env=POINT, gamma=1.0, **SMALL)
