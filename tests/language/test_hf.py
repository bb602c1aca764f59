"""Models of `transformers`: a small one with random weights and a tokenizer of its own, made here, no hub."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

if not (find_spec("transformers") and find_spec("peft")):  # to import them takes seconds, whatever tests are to run
    pytest.skip("needs rlbench[language]: transformers, peft", allow_module_level=True)

from rlbench import config
from rlbench.build import build
from rlbench.errors import UsageError
from rlbench.language.hf import HFPolicy, Listed, load, merged
from rlbench.language.text import Ragged, Text, joined
from rlbench.language.tuning import Tuner, likelihood_loss
from rlbench.rng import SeedStreams

WORDS = ["<end>", "yes", "no", "is", "it", "even", "odd", *map(str, range(10))]


def saved(folder: Path, kind: str = "gpt2") -> Path:
    """A model with its tokenizer, as `save_pretrained` writes them."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    tokenizer: Any = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<end>"))
    tokenizer.pre_tokenizer = Whitespace()
    wrapped: Any = PreTrainedTokenizerFast
    wrapped(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    size: dict[str, Any] = {"vocab_size": len(WORDS), "bos_token_id": 0, "eos_token_id": 0}
    model: Any = (
        GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, **size))
        if kind == "gpt2"
        else GPTNeoXForCausalLM(
            GPTNeoXConfig(
                hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                max_position_embeddings=32, **size,
            )
        )
    )  # fmt: skip
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(5)  # so that whatever is seen has an effect
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: saved(tmp_path_factory.mktemp(kind), kind) for kind in ("gpt2", "neox")}


def policy(folder: Path, lora_rank: int | None = None, dtype: str = "float32", seeds: int = 1) -> HFPolicy:
    model, tokenizer = load(str(folder), dtype, "env=text")
    return HFPolicy([merged(model) for _ in range(seeds)], tokenizer, lora_rank)


def streams(*seeds: int) -> SeedStreams:
    return SeedStreams(seeds, "adapters")


def texts() -> tuple[Text, Text]:
    """Two texts of different lengths, in one batch and alone."""
    prompts, responses = [[3, 4, 5], [3, 9]], [[1, 0], [2, 7, 8, 1, 0]]
    place = torch.arange(2)[None]
    cpu = torch.device("cpu")
    return Ragged(prompts, responses, cpu).take(place), Ragged(prompts[:1], responses[:1], cpu).take(place[:, :1])


def test_loading_says_nothing(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    """A run draws its own progress."""
    load(str(models["gpt2"]), "float32", "env=text")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_log_probabilities_are_the_models_own(models: dict[str, Path], kind: str) -> None:
    """Without filling, against the plain forward pass; filling changes nothing."""
    both, one = texts()
    model = policy(models[kind])
    logits = model.modules[0](input_ids=one.tokens[0]).logits[0].log_softmax(-1)
    by_hand = logits[2, 1] + logits[3, 0]  # the prompt's last token predicts the response's first
    assert float(model.logp(one)[0, 0].detach()) == pytest.approx(float(by_hand.detach()), abs=1e-4)
    wide = joined(both, both.map(lambda each: torch.nn.functional.pad(each, (2, 2))))
    assert torch.allclose(model.logp(both)[0, 0], model.logp(one)[0, 0], atol=1e-4)
    assert torch.allclose(model.logp(wide)[:, :2], model.logp(both), atol=1e-4)
    scorer = model.scorer(SeedStreams([0], "head"))
    assert torch.allclose(scorer.score(both)[0, 0], scorer.score(one)[0, 0], atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_logits_are_computed_where_they_are_wanted(models: dict[str, Path], kind: str) -> None:
    """Those of a prompt's tokens, each as long as the vocabulary, would be most of the memory."""
    both, _ = texts()
    model = policy(models[kind])
    module: Any = model.modules[0]
    lengths: list[int] = []
    module.get_output_embeddings().register_forward_hook(lambda *given: lengths.append(given[-1].shape[1]))
    model.logp(both)
    assert lengths == [both.response.shape[-1] + 1]
    lengths.clear()
    model.generate(both, 0.0, 6, SeedStreams([0], "samples"))
    assert set(lengths) == {1}


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_greedy_samples_are_those_of_transformers(models: dict[str, Path], kind: str) -> None:
    both, _ = texts()
    model = policy(models[kind])
    text = model.generate(both, 0.0, 6, SeedStreams([0], "samples"))
    theirs = model.modules[
        0
    ].generate(  # type: ignore[operator]
        both.prompt[0], attention_mask=both.prompt_mask[0].long(), do_sample=False, max_new_tokens=6, pad_token_id=0
    )[:, both.prompt.shape[-1] :]
    ours = torch.where(text.response_mask, text.response, 0)[0]
    assert torch.equal(ours, theirs[:, : ours.shape[1]])


def test_adapters_begin_as_the_reference_and_alone_are_trained(models: dict[str, Path], tmp_path: Path) -> None:
    both, _ = texts()
    reference = policy(models["gpt2"], lora_rank=2).clone_frozen()
    tuned = reference.clone(streams(0))
    assert torch.allclose(tuned.logp(both), reference.logp(both), atol=1e-5)
    before = {name: value.clone() for name, value in tuned.modules[0].named_parameters()}
    tuner = Tuner(tuned, 1e-2, 0, 10.0)
    for _ in range(10):
        tuner.step([likelihood_loss(tuned, both)])
    changed = {name for name, value in tuned.modules[0].named_parameters() if not torch.equal(value, before[name])}
    assert changed
    assert all("lora" in name for name in changed)
    assert bool((tuned.logp(both) > reference.logp(both)).all())
    tuned.save(0, tmp_path / "out")
    again = policy(tmp_path / "out")
    assert torch.allclose(again.logp(both), tuned.logp(both), atol=1e-4)
    assert torch.allclose(tuned.clone_frozen().logp(both), tuned.logp(both), atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_of_a_score_adapters_and_head_alone_are_trained(models: dict[str, Path], kind: str) -> None:
    """In single precision, whatever the weights are in."""
    both, _ = texts()
    scorer = policy(models[kind], lora_rank=2, dtype="bfloat16").clone_frozen().scorer(SeedStreams([0], "head"))
    kept = scorer.modules[0].named_parameters()
    before = {name: value.clone() for name, value in kept if "lora" not in name and name != "head"}
    tuner = Tuner(scorer, 1e-3, 0, 10.0)
    gap = [scorer.score(both).detach().diff()]
    for _ in range(3):
        tuner.step([scorer.score(both).diff().mean(1)])
    gap.append(scorer.score(both).detach().diff())
    assert float(gap[1]) < float(gap[0]) - 0.01
    after = dict(scorer.modules[0].named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    trained = scorer.trained(scorer.modules[0])
    assert {"head"} < trained.keys()
    assert all(value.dtype == torch.float32 for name, value in trained.items() if name != "head")


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_a_seeds_adapters_are_its_own(models: dict[str, Path], kind: str) -> None:
    """The same whatever was drawn before, alone or beside others; spread as peft's are."""

    def adapters(model: Listed, place: int) -> dict[str, torch.Tensor]:
        trained = model.trained(model.modules[place])
        return {name: value.detach() for name, value in trained.items() if "lora_A" in name}

    def drawn(*seeds: int) -> list[dict[str, torch.Tensor]]:
        reference = policy(models[kind], lora_rank=2, seeds=len(seeds)).clone_frozen()
        made = reference.clone(streams(*seeds)), reference.scorer(streams(*seeds))
        return [{**adapters(made[0], place), **adapters(made[1], place)} for place in range(len(seeds))]

    both, alone = drawn(3, 4), drawn(4)
    assert alone[0].keys() == both[1].keys()
    for name, value in alone[0].items():
        assert torch.equal(value, both[1][name]), name
        assert not torch.allclose(both[0][name], value, atol=0.05), name
    bounded = torch.cat([value.flatten() * value.shape[1] ** 0.5 for value in alone[0].values()])
    assert float(bounded.abs().max()) <= 1
    assert float(bounded.std()) == pytest.approx(3**-0.5, rel=0.1)


def test_texts_longer_than_the_model_can_read_are_refused(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those to learn from, and prompts with what is sampled; up to its 32 positions all is well."""
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    rows = [
        {"prompt": "is it even " * 30, "chosen": "yes", "rejected": "no " * 30},
        {"prompt": "odd", "ranked": ["1", "2"]},
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [
        "algo=dpo", "env=text", f"env.model={models['gpt2']}", f"dataset=pref_file:{tmp_path / 'pairs.jsonl'}",
        "tracking=disabled", "env.sft_epochs=0", "env.max_prompt_length=8",
    ]  # fmt: skip
    for limits, longest in (((33, 4), 33), ((16, 25), 33)):
        with pytest.raises(UsageError, match=rf"knows 32 positions, and texts may have {longest} tokens\nlower env"):
            build(config.compose([*words, f"env.max_length={limits[0]}", f"env.max_new={limits[1]}"]))
    algorithm, _ = build(config.compose([*words, "env.max_length=32", "env.max_new=24"]))
    assert algorithm.train(1)
    assert algorithm.evaluate()


@pytest.mark.parametrize("words", [(), ("env.lora_rank=2",), ("env.sft_epochs=1", "env.sft_learning_rate=1e-2")])
def test_the_reference_may_be_in_half_precision(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """As in the authors' code; what is trained begins as the model in its own precision."""
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"is {i}", "chosen": " yes", "rejected": " no"} for i in range(9)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = [
        "algo=rlhf_ppo", "algo.batch_size=16", "algo.reward_epochs=1", "env=text", f"env.model={models['gpt2']}",
        "env.max_length=24", "env.max_prompt_length=8", "env.max_new=4", "env.sft_epochs=0",
        f"dataset=pref_file:{pairs}", "tracking=disabled", *words,
    ]  # fmt: skip
    made: dict[str, Any] = {
        dtype: build(config.compose([*common, f"env.reference_dtype={dtype}"]))[0] for dtype in ("float32", "float16")
    }
    for name in ("policy", "critic"):
        half, single = (made[dtype].__dict__[name].modules[0].state_dict() for dtype in ("float16", "float32"))
        assert all(torch.equal(half[key], single[key]) for key in single), name
        assert {value.dtype for value in half.values()} == {torch.float32}
    text, _ = texts()
    half, single = (made[dtype].task.reference for dtype in ("float16", "float32"))
    assert {value.dtype for value in half.modules[0].state_dict().values()} == {torch.float16}
    error = (half.logp(text) - single.logp(text)).abs()
    assert 0 < float(error.max()) < 0.05
    assert half.logp(text).dtype == torch.float32


def test_a_state_is_taken_up_again(models: dict[str, Path]) -> None:
    both, _ = texts()
    whole, half = (policy(models["gpt2"]).clone(streams(0)) for _ in range(2))
    tuners = Tuner(whole, 1e-3, 5, 1.0), Tuner(half, 1e-3, 5, 1.0)
    for _ in range(2):
        for tuner, model in zip(tuners, (whole, half), strict=True):
            tuner.step([likelihood_loss(model, both)])
    fresh = policy(models["gpt2"]).clone(streams(0))
    resumed = Tuner(fresh, 1e-3, 5, 1.0)
    resumed.load_state_dict(tuners[1].state_dict())
    tuners[0].step([likelihood_loss(whole, both)])
    resumed.step([likelihood_loss(fresh, both)])
    assert torch.equal(whole.logp(both), fresh.logp(both))
