"""PPO's parts: advantages against sums written out, the price of divergence, and the reward of a sample."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbench import config
from rlbench.algos.language.rlhf_ppo import RlhfPPO, advantages, whitened
from rlbench.build import build
from rlbench.errors import UsageError

SMALL = [
    "algo=rlhf_ppo", "tracking=disabled", "env.T=3", "env.V=4", "dataset.pairs=600", "dataset.sft_size=2000",
    "algo.batch_size=64", "algo.reward_epochs=1",
]  # fmt: skip


def test_advantages_are_discounted_sums_of_errors() -> None:
    rng = torch.Generator().manual_seed(0)
    reward, values = torch.randn(2, 1, 1, 4, generator=rng)
    following = [*values[0, 0, 1:].tolist(), 0.0]
    errors = [float(reward[0, 0, t]) + following[t] - float(values[0, 0, t]) for t in range(4)]
    expected = [sum(0.9 ** (k - t) * errors[k] for k in range(t, 4)) for t in range(4)]
    assert advantages(reward, values, 0.9)[0, 0].tolist() == pytest.approx(expected, abs=1e-6)
    whole = advantages(reward, values, 1.0)[0, 0, 0]  # the return less the value
    assert float(whole) == pytest.approx(float(reward.sum() - values[0, 0, 0]), abs=1e-5)


def test_filling_does_not_count_when_advantages_are_scaled() -> None:
    values = torch.tensor([[[1.0, 2.0, 100.0], [3.0, 6.0, 8.0]]])
    mask = torch.tensor([[[True, True, False], [True, True, True]]])
    scaled = whitened(values, mask)
    assert float(scaled[0, 0, 2]) == 0
    kept = scaled[mask]
    assert float(kept.mean()) == pytest.approx(0, abs=1e-6)
    assert float(kept.std(correction=0)) == pytest.approx(1, abs=1e-5)


def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> RlhfPPO:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path))
    algorithm, _ = build(config.compose([*SMALL, *words]))
    assert isinstance(algorithm, RlhfPPO)
    return algorithm


def test_the_price_rises_where_the_policy_is_too_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """beta (1 + B / horizon clip(KL / target - 1)), from the KL of the samples."""
    algorithm = built(tmp_path, monkeypatch, "algo.target_kl=0.01", "algo.kl_horizon=640", "env.beta=0.5")
    first = algorithm.train(64)
    assert float(algorithm.price.beta) == pytest.approx(0.5 * (1 - 0.2 * 64 / 640), rel=1e-5)  # KL = 0 at first
    assert float(first["train/kl"]) == pytest.approx(0, abs=1e-5)
    before = float(algorithm.price.beta)
    while float(algorithm.train(64)["train/kl"]) < 0.02:
        before = float(algorithm.price.beta)
    assert float(algorithm.price.beta) == pytest.approx(before * 1.02, rel=1e-5)


def test_a_sample_earns_its_reward_less_its_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With lambda 1 and no baseline of note, the first token's return is reward - beta KL of the whole response."""
    algorithm = built(tmp_path, monkeypatch, "algo.reward=ground_truth", "algo.gae_lambda=1", "env.beta=0.5")
    algorithm.train(640)
    text, facts = algorithm.sampled(torch.arange(64)[None])
    assert torch.allclose(facts["reward"], algorithm.task.true_reward()(text))
    assert float(facts["kl"].abs().max()) > 0.01
    assert torch.allclose(facts["returns"][..., 0], facts["reward"] - 0.5 * facts["kl"], atol=1e-4)


def test_the_learned_reward_is_standardised_and_knows_the_true_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = built(tmp_path, monkeypatch, "dataset.pairs=3000", "algo.reward_epochs=3")
    pairs = algorithm.task.comparisons
    text = pairs.take(torch.arange(len(pairs))[None])
    score, truth = algorithm.score(text)[0], algorithm.task.true_reward()(text)[0]
    assert float(score.mean()) == pytest.approx(0, abs=1e-4)
    assert float(score.std()) == pytest.approx(1, abs=1e-3)
    assert float(torch.corrcoef(torch.stack([score, truth]))[0, 1]) > 0.5


def test_every_minibatch_is_there_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six samples in four minibatches: as many updates a pass, and what is reported is the mean of their losses."""
    few = ["algo.reward=ground_truth", "algo.batch_size=6", "algo.minibatches=4", "algo.epochs=1"]
    algorithm = built(tmp_path, monkeypatch, *few)
    losses: list[float] = []
    inner = algorithm.critic_losses

    def heard(*given: Any) -> Iterator[torch.Tensor]:
        for loss in inner(*given):
            losses.append(float(loss.detach()))
            yield loss

    monkeypatch.setattr(algorithm, "critic_losses", heard)
    metrics = algorithm.train(6)
    assert len(losses) == 4
    assert float(metrics["train/critic_loss"]) == pytest.approx(sum(losses) / 4, rel=1e-5)
    with pytest.raises(UsageError, match=r"algo\.minibatches=8: a batch has 6 samples"):
        built(tmp_path, monkeypatch, "algo.reward=ground_truth", "algo.batch_size=6", "algo.minibatches=8")
