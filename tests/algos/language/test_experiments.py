"""The full-size experiments are what was published, and words that fit nothing are told what would."""

from pathlib import Path

import pytest

from rlbench import config
from rlbench.errors import UsageError

FAMILY = "dpo", "cdpo", "ipo", "sft", "preferred_ft", "unlikelihood", "reward_bt", "best_of_n", "rlhf_ppo"


@pytest.mark.parametrize("algo", FAMILY)
def test_a_large_model_is_trained_at_rates_for_large_models(algo: str, tmp_path: Path) -> None:
    """Those of DPO's code for all weights, ten times as much for adapters; the small transformers keep theirs."""
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("{}")

    def rates(*words: str) -> tuple[set[float], set[int]]:
        cfg = config.compose([f"algo={algo}", *words])
        nodes = {**cfg.env, **{f"algo.{key}": value for key, value in cfg.algo.items()}}
        return (
            {value for key, value in nodes.items() if key.endswith("learning_rate")},
            {value for key, value in nodes.items() if key.endswith("warmup_updates")},
        )

    text = ["env=text", "env.model=gpt2", f"dataset=pref_file:{pairs}"]
    assert rates(*text) == ({5e-7}, {150})
    assert rates(*text, "env.lora_rank=16") == ({5e-6}, {150})
    assert rates(*text, "env.learning_rate=1e-6", "env.warmup_updates=10") == ({1e-6}, {10})
    own = config.compose([f"algo={algo}", *text, "algo.learning_rate=1e-5"])
    assert (own.algo.learning_rate, own.env.sft_learning_rate) == (1e-5, 5e-7)
    small = rates(f"dataset=pref_file:{pairs}", "env=text_tiny")
    assert min(small[0]) >= 1e-4
    assert small[1] == {50}
    assert rates() == small


def test_dialogues_at_full_size(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}")
    cfg = config.compose(["experiment=dpo_hh", f"dataset.path={tmp_path}"])
    algo, env = cfg.algo, cfg.env
    assert (algo.name, env.model, cfg.dataset.level) == ("dpo", "EleutherAI/pythia-2.8b", "pref_hh")
    assert (env.beta, algo.beta, algo.label_smoothing, algo.reference_free) == (0.1, None, 0.0, False)
    assert (algo.batch_size, algo.learning_rate, algo.warmup_updates, algo.max_grad_norm) == (64, 5e-7, 150, 10.0)
    assert (env.sft_epochs, env.sft_batch_size, env.sft_learning_rate, env.sft_warmup_updates) == (1, 64, 5e-7, 150)
    assert (env.max_length, env.max_prompt_length, env.held_out, cfg.eval.every) == (512, 256, 256, 20000)


def test_summaries_at_full_size(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}")
    cfg = config.compose(["experiment=dpo_tldr", f"dataset.path={tmp_path}"])
    algo, env = cfg.algo, cfg.env
    assert (algo.name, env.model, cfg.dataset.level) == ("dpo", "EleutherAI/gpt-j-6b", "tldr")
    assert (env.beta, algo.beta, env.lora_rank, env.dtype) == (0.5, None, 64, "bfloat16")
    assert (algo.batch_size, algo.learning_rate, algo.warmup_updates) == (64, 5e-6, 150)
    assert (env.sft_epochs, env.sft_learning_rate, env.max_length, env.max_prompt_length) == (1, 5e-6, 512, 256)


def test_sentiment_at_full_size_is_the_papers_22_runs_and_best_of_n() -> None:
    cells = config.expand(["experiment=dpo_imdb", "dataset.path=reviews.jsonl"], True)
    cfgs = [config.compose(cell) for cell in cells]
    assert [cfg.algo.beta for cfg in cfgs if cfg.algo.name == "dpo"] == [0.05, 0.1, 1.0, 5.0]
    assert [cfg.algo.alpha for cfg in cfgs if cfg.algo.name == "unlikelihood"] == [0.05, 0.1, 0.5, 1.0]
    assert [cfg.seed for cfg in cfgs if cfg.algo.name == "preferred_ft"] == [0, 1, 2, 3, 4, 5]
    for reward in ("learned", "ground_truth"):
        with_it = [cfg for cfg in cfgs if cfg.algo.name == "rlhf_ppo" and cfg.algo.reward == reward]
        assert [cfg.algo.target_kl for cfg in with_it] == [3.0, 6.0, 9.0, 12.0]
    assert [cfg.algo.n for cfg in cfgs if cfg.algo.name == "best_of_n"] == [128]
    assert len(cfgs) == 22 + 1
    assert {cfg.env.model for cfg in cfgs} == {"gpt2-large"}
    assert {cfg.env.reward.model for cfg in cfgs} == {"siebert/sentiment-roberta-large-english"}
    rates = {value for cfg in cfgs for key, value in cfg.algo.items() if str(key).endswith("learning_rate")}
    assert rates == {1e-6}
    assert {(cfg.algo.micro_batch, cfg.algo.warmup_updates) for cfg in cfgs} == {(16, 150)}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["algo=dpo", "env=hopper"], "these fit: env=lm_enum, env=text, env=text_tiny"),
        (["algo=dpo", "dataset=pref_hh"], "dataset=pref_hh exists for env=text, text_tiny, not for env=lm_enum"),
        (
            ["algo=ipo", "dataset=enum_rankings"],
            "algo=ipo needs preferences, and dataset=enum_rankings is rankings\nthese fit: dataset=enum_pairs",
        ),
        (["algo=iql", "env=lm_enum"], "algo=iql needs control, and env=lm_enum is language"),
        (["algo=dpo", "env=text", "dataset=pref_hh"], "env.model is missing: give env.model=VALUE"),
        (["algo=dpo", "env=text_tiny", "dataset=pref_file"], "dataset=pref_file:PATH"),
    ],
)
def test_what_does_not_fit_is_told_what_would(words: list[str], answer: str) -> None:
    with pytest.raises(UsageError, match=answer):
        config.compose(words)
