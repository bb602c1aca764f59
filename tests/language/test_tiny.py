"""The small transformer: what it must not see, and that all ways to compute a thing agree."""

import pytest
import torch

from rlbench.language.policy import drawn
from rlbench.language.text import Text, joined
from rlbench.language.tiny import Shape, TinyPolicy, looked_up
from rlbench.rng import SeedStreams

SHAPE = Shape(layers=2, width=16, heads=2, vocabulary=9, outputs=6, length=12, end=5)


def policy(seeds: tuple[int, ...] = (0, 1)) -> TinyPolicy:
    """Weights far from 0, so that whatever is seen has an effect."""
    made = TinyPolicy.new(SHAPE, SeedStreams(seeds, "model"))
    with torch.no_grad():
        for name, value in made.params.items():
            if name.endswith("weight") and value.dim() == 3 and value.shape[1] > 1:
                value *= 10
    return made


def texts(S: int = 2, B: int = 3, P: int = 2, T: int = 4) -> Text:
    rng = torch.Generator().manual_seed(0)
    prompt = torch.randint(0, 9, (S, B, P), generator=rng)
    response = torch.randint(0, 5, (S, B, T), generator=rng)
    return Text(prompt, torch.ones_like(prompt).bool(), response, torch.ones_like(response).bool())


def test_filling_changes_nothing() -> None:
    text, model = texts(), policy()
    wide = joined(text, texts(B=1, P=4, T=6))
    filled = wide.map(lambda each: each[:, :3])
    noisy = Text(
        torch.where(filled.prompt_mask, filled.prompt, 7),
        filled.prompt_mask,
        torch.where(filled.response_mask, filled.response, 3),
        filled.response_mask,
    )
    for each in (filled, noisy):
        assert torch.allclose(model.logp(each), model.logp(text), atol=1e-5)
        logp = model.token_logp(each)
        assert bool((logp[..., 4:] == 0).all())
        scorer = model.scorer(SeedStreams((0, 1), "head"))
        assert torch.allclose(scorer.score(each), scorer.score(text), atol=1e-5)


def test_log_probabilities_are_sums_over_the_response_alone() -> None:
    """Against probabilities of the next token, one prefix at a time."""
    text, model = texts(), policy()
    total = torch.zeros(2, 3)
    for t in range(4):
        prefix = text.with_responses(text.response[..., : t + 1], text.response_mask[..., : t + 1])
        following = model.logits(prefix)[..., -1, :].log_softmax(-1)
        total += following.gather(-1, text.response[..., t : t + 1]).squeeze(-1)
    assert torch.allclose(model.logp(text), total, atol=1e-5)


def test_the_tree_gives_every_response_its_probability_and_score() -> None:
    model = policy()
    prompts = torch.tensor([[[6], [8]], [[7], [6]]])
    table = model.table(prompts, 3)
    assert torch.allclose(table.exp().sum(-1), torch.ones(2, 2).double(), atol=1e-5)
    leaves = torch.cartesian_prod(*[torch.arange(6)] * 3)
    scorer = model.scorer(SeedStreams((0, 1), "head"))
    scores = scorer.table(prompts, 3)
    for c in range(2):
        prompt = prompts[:, c : c + 1].expand(-1, len(leaves), -1)
        response = leaves.expand(2, -1, -1)
        text = Text(prompt, torch.ones_like(prompt).bool(), response, torch.ones_like(response).bool())
        assert torch.allclose(model.logp(text).double(), table[:, c], atol=1e-5)
        assert torch.allclose(scorer.score(text).double(), scores[:, c], atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_samples_follow_the_probabilities(temperature: float) -> None:
    """Frequencies of first tokens, and of what follows; prompts are filled up on the left."""
    model = policy((0,))
    prompt = torch.tensor([[[0, 6]]]).expand(-1, 20_000, -1)
    mask = torch.tensor([[[False, True]]]).expand(-1, 20_000, -1)
    empty = prompt[..., :0]
    asked = Text(prompt, mask, empty, empty.bool())
    text = model.generate(asked, temperature, 2, SeedStreams((0,), "samples"))
    expected = model.table(torch.tensor([[[6]]]), 2)[0, 0].exp().reshape(6, 6)
    first = text.response[0, :, 0]
    if temperature == 0:
        assert bool((first == expected.sum(1).argmax()).all())
        return
    assert torch.allclose(torch.bincount(first, minlength=6) / 20_000, expected.sum(1).float(), atol=0.02)
    ended = first == 5
    assert not text.response_mask[0, ended, 1].any()
    assert bool(text.response_mask[0, ~ended].all())
    pairs = torch.bincount(first[~ended] * 6 + text.response[0, ~ended, 1], minlength=36).reshape(6, 6)[:5] / 20_000
    assert torch.allclose(pairs, expected[:5].float(), atol=0.02)


def test_a_seed_samples_the_same_in_any_company() -> None:
    """Twice in a row: what the first samples take from the streams does not depend on where others end."""
    prompt = torch.tensor([[[6], [7], [8]]])
    model, both, one = policy((0, 1)), SeedStreams((0, 1), "samples"), SeedStreams((1,), "samples")
    alone = TinyPolicy(SHAPE, {name: value[1:].detach().clone() for name, value in model.params.items()})
    for _ in range(3):
        texts = [
            each.generate(
                Text(asked, torch.ones_like(asked).bool(), asked[..., :0], asked[..., :0].bool()), 1.0, 8, rng
            )
            for each, asked, rng in ((model, prompt.expand(2, -1, -1), both), (alone, prompt, one))
        ]
        T = texts[1].response.shape[-1]
        assert torch.equal(texts[0].response[1, :, :T], texts[1].response[0])
        assert int(texts[0].response_mask[1].sum()) == int(texts[1].response_mask.sum())


def test_draws_never_have_probability_0() -> None:
    probability = torch.tensor([[0.0, 0.5, 0.5, 0.0]])
    assert drawn(probability, torch.tensor([0.0])).item() == 1
    assert drawn(probability, torch.tensor([1 - 1e-8])).item() == 2


def test_a_frozen_copy_shares_nothing_and_has_no_gradients() -> None:
    model = policy()
    frozen = model.clone_frozen()
    before = frozen.logp(texts()).clone()
    with torch.no_grad():
        for value in model.parameters():
            value += 1
    assert torch.equal(frozen.logp(texts()), before)
    assert not frozen.logp(texts()).requires_grad


def test_gradients_are_clipped_seed_by_seed() -> None:
    model = policy()
    (model.logp(texts()).mean(1) * torch.tensor([1.0, 100.0])).sum().backward()
    alone = [value.grad[0].clone() for value in model.parameters() if value.grad is not None]
    norm = model.clip(float("inf"))
    again = model.clip(float(norm[0]))
    assert torch.equal(norm, again)
    after = [value.grad for value in model.parameters() if value.grad is not None]
    assert all(torch.allclose(a, b[0]) for a, b in zip(alone, after, strict=True))
    left = torch.stack([value[1].square().sum() for value in after]).sum().sqrt()
    assert float(left) == pytest.approx(float(norm[0]), rel=1e-4)


def test_rows_of_a_table_have_the_same_gradient_whatever_the_threads() -> None:
    """To the last bit, however often; against plain indexing."""
    rng = torch.Generator().manual_seed(0)
    index = torch.randint(14, (3, 128, 5), generator=rng)
    start, slope = torch.randn(3, 14, 64, generator=rng), torch.randn(3, 128, 5, 64, generator=rng)

    def gradient() -> torch.Tensor:
        table = start.clone().requires_grad_()
        found = looked_up(table, index)
        assert torch.equal(found, start[torch.arange(3)[:, None, None], index])
        (found * slope).sum().backward()
        assert table.grad is not None
        return table.grad

    threads = torch.get_num_threads()
    one = gradient()
    torch.set_num_threads(2)
    try:
        assert all(torch.equal(gradient(), one) for _ in range(50))
    finally:
        torch.set_num_threads(threads)
    expected = torch.zeros_like(start).index_put_((torch.arange(3)[:, None, None], index), slope, accumulate=True)
    torch.testing.assert_close(one, expected)
