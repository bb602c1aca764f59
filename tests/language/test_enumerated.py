"""The enumerated language: tables against samples and sums, and what comparisons are drawn from."""

from pathlib import Path

import pytest
import torch

from rlbench import cli, config
from rlbench.build import build
from rlbench.errors import UsageError
from rlbench.language import exact
from rlbench.language.enumerated import EnumTask
from tests.language.winners import winners

WORDS = [
    "algo=dpo",
    "tracking=disabled",
    "env.T=3",
    "env.V=4",
    "env.sft_epochs=2",
    "dataset.sft_size=4000",
    "seeds=2",
    "dataset.pairs=20000",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reference is kept: all comparisons are of the same."""
    return tmp_path_factory.mktemp("cache")


def built(cache: Path, words: list[str]) -> EnumTask:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLBENCH_CACHE", str(cache))
        made = build(config.compose(words))[1]
    assert isinstance(made, EnumTask)
    return made


@pytest.fixture(scope="module")
def task(cache: Path) -> EnumTask:
    return built(cache, WORDS)


def test_the_listing_is_whole(task: EnumTask) -> None:
    assert task.language.leaves().tolist() == torch.cartesian_prod(*[torch.arange(4)] * 3).tolist()
    for logp in (task.logp_reference, task.language.source):
        assert logp.shape == (2, 8, 64)
        assert float((logp.exp().sum(-1) - 1).abs().max()) < 1e-5


def test_rewards_are_standard_under_the_reference(task: EnumTask) -> None:
    p = task.logp_reference.exp()
    assert float((p * task.reward).sum(-1).abs().max()) < 1e-9
    assert torch.allclose((p * task.reward.square()).sum(-1).mean(-1), torch.ones(2).double(), atol=1e-9)


def test_the_reward_is_a_sum_over_tokens_and_neighbours(task: EnumTask) -> None:
    """Without interactions further apart: exchanging first tokens changes no more than what they touch."""
    raw = task.language.raw_reward.reshape(2, 8, 4, 4, 4)
    change = raw[:, :, 0] - raw[:, :, 1]  # the first token replaced, by the second and third
    assert torch.allclose(change, change[..., :1].expand_as(change), atol=1e-9)
    assert float(change.std(2).min()) > 1e-3  # the neighbour matters


def test_every_seed_has_its_own_language_the_same_in_any_company(
    task: EnumTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path))
    alone = build(config.compose([*WORDS[:-2], "seeds=1", "seed=1", WORDS[-1]]))[1]
    assert isinstance(alone, EnumTask)
    assert torch.equal(alone.language.source[0], task.language.source[1])
    assert torch.allclose(alone.logp_reference[0], task.logp_reference[1], atol=1e-3)
    assert not torch.allclose(task.language.source[0], task.language.source[1], atol=0.1)


def test_comparisons_are_bradley_and_terrys(task: EnumTask) -> None:
    """Winners against their exact distribution, and how often the better one wins against its probability."""
    index = torch.arange(len(task.comparisons)).expand(2, -1)
    chosen, rejected = (texts.take(index) for texts in task.comparisons.ranked)
    prompt, winner = task.language.index(chosen)
    _, loser = task.language.index(rejected)
    assert not bool((winner == loser).any())
    seed = torch.arange(2)[:, None]
    margin = (task.reward[seed, prompt, winner] - task.reward[seed, prompt, loser]).abs()
    won = (task.true_reward()(chosen) > task.true_reward()(rejected)).double()
    expected = torch.sigmoid(margin)
    deviation = (expected * (1 - expected)).sum(1).sqrt()
    assert bool(((won - expected).sum(1).abs() < 4 * deviation).all())
    expected_winners = winners(task.logp_reference, task.reward).exp()
    share = torch.zeros_like(expected_winners)
    share.index_put_((seed.expand_as(prompt), prompt, winner), torch.ones_like(margin), accumulate=True)
    share = share / share.sum(-1, keepdim=True)
    assert float((share - expected_winners).abs().sum(-1).mean()) < 0.2
    assert float((share - task.logp_reference.exp()).abs().sum(-1).mean()) > 0.25  # the reference is something else


def test_rankings_are_plackett_and_luces(cache: Path) -> None:
    """Different responses, the order of three by its probability: how often all, or just the best, come by reward."""
    words = [*WORDS[:-1], "dataset=enum_rankings", "dataset.rankings=20000", "dataset.responses=3"]
    task = built(cache, words)
    index = torch.arange(len(task.comparisons)).expand(2, -1)
    texts = [texts.take(index) for texts in task.comparisons.ranked]
    places = torch.stack([task.language.index(text)[1] for text in texts])
    assert places.shape == (3, 2, 20_000)
    with pytest.raises(UsageError, match="hardly ever gives 30 different responses"):
        built(cache, [*words, "dataset.responses=30"])
    assert all(bool((places[i] != places[j]).all()) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert all(torch.equal(text.prompt, texts[0].prompt) for text in texts)
    reward = torch.stack([task.true_reward()(text).double() for text in texts])
    odds = reward.sort(0, descending=True).values.exp()
    best = odds[0] / odds.sum(0)
    every = best * odds[1] / odds[1:].sum(0)
    for came, expected in (
        ((reward[0] >= reward).all(0), best),
        ((reward[:-1] >= reward[1:]).all(0), every),
    ):
        deviation = (expected * (1 - expected)).sum(1).sqrt()
        assert bool(((came.double() - expected).sum(1).abs() < 4 * deviation).all())


def test_the_judgement_is_the_objective(task: EnumTask) -> None:
    """The reference closes nothing, the tilted policy everything; between them nothing is above the frontier."""
    beta = task.env.beta
    nothing = task.evaluate(task.reference)
    assert float(nothing["eval/gap_closure"].abs().max()) < 1e-6
    assert float(nothing["eval/kl"].abs().max()) < 1e-9
    best, _ = exact.tilted(task.logp_reference, task.reward, beta)
    found = task.judged(best)
    assert torch.allclose(found["eval/gap_closure"], torch.ones(2).double(), atol=1e-9)
    half = task.judged((0.5 * best.exp() + 0.5 * task.logp_reference.exp()).log())
    assert bool((half["eval/reward"] < half["eval/frontier_reward"]).all())
    assert bool((half["eval/gap_closure"] < 1).all())


def test_the_best_of_many_by_the_true_reward_earns_more(task: EnumTask) -> None:
    few, many = (task.evaluate_best(task.true_reward(), n) for n in (2, 8))
    assert bool((few["eval/reward"] > 0.3).all())
    assert bool((many["eval/reward"] > few["eval/reward"]).all())
    assert bool((many["eval/reward"] <= many["eval/frontier_reward"]).all())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env.heads=3"], r"env.heads=3 do not divide env.width=64\n"),
        (["env.T=12"], r"8 prompts with 6\^12 responses each are too many to be listed\nlower env.T=12"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_built(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=message):
        config.instantiate(config.compose(["algo=dpo", *words]).env)
    assert cli.main(["check", "algo=dpo", *words]) == 2
    assert words[0] in capsys.readouterr().err
