"""Problems in words: what becomes of prompts and responses, and how answers are judged."""

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbench import cli, config
from rlbench.build import build
from rlbench.errors import RunError, UsageError
from rlbench.language.judge import Judge, Verdict
from rlbench.language.reward import Reward
from rlbench.language.written import TextTask, cut, other_prompts

WORDS = ["algo=dpo", "env=text_tiny", "tracking=disabled", "env.sft_epochs=0", "steps=64"]


def rows(count: int = 40) -> list[dict[str, Any]]:
    return [{"prompt": f"{i}?", "chosen": "yes" * (1 + i % 3), "rejected": "no"} for i in range(count)]


def rankings(count: int = 40) -> list[dict[str, Any]]:
    return [{"prompt": f"{i}?", "ranked": ["best", "good" * (1 + i % 2), "bad"]} for i in range(count)]


def written(file: Path, lines: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    return written(tmp_path / "pairs.jsonl", rows())


def task(path: Path, *words: str) -> TextTask:
    made = build(config.compose([*WORDS, f"dataset=pref_file:{path}", *words]))[1]
    assert isinstance(made, TextTask)
    return made


def test_responses_end_with_the_end_token_and_prompts_have_none(path: Path) -> None:
    made = task(path)
    text = made.comparisons.take(torch.arange(len(made.comparisons))[None])
    end = made.backend.end
    assert int((text.response == end).sum()) == 2 * len(made.comparisons)
    assert not bool((text.prompt == end).any())
    lengths = text.response_mask.sum(-1)
    assert bool((text.response.gather(-1, lengths[..., None] - 1) == end).all())
    last = text.prompt[..., -1]  # prompts end where responses begin
    assert bool((last == ord("?")).all())
    words = bytes(text.response[0, 0, : int(lengths[0, 0]) - 1].tolist()).decode()
    assert set(words) == set("yes")


def test_rankings_are_read_in_order(path: Path) -> None:
    made = task(written(path, rankings()))
    text = made.comparisons.take(torch.arange(len(made.comparisons))[None])
    tokens = made.comparisons.apart(text.response)[:, 0, 0]
    words = [made.backend.decode([token for token in row if 0 < token < made.backend.end]) for row in tokens.tolist()]
    assert [word[:4] for word in words] == ["best", "good", "bad"]
    with pytest.raises(UsageError, match=r"algo.label_smoothing is made for pairs, .* rankings of 3 responses"):
        task(path, "algo.label_smoothing=0.1")
    for algo in ("ipo", "unlikelihood"):
        with pytest.raises(UsageError, match=rf"(?i){algo} is made for pairs"):
            task(path, f"algo={algo}")


def test_long_texts_are_cut_as_published(path: Path) -> None:
    env = config.instantiate(config.compose([*WORDS, f"dataset=pref_file:{path}"]).env)
    assert (env.max_length, env.max_prompt_length) == (256, 128)
    prompt = list(range(200))
    assert cut(prompt, 56, env, "end") == (prompt, 56)
    assert cut(prompt, 57, env, "end") == (prompt[-128:], 57)
    assert cut(prompt, 57, env, "start") == (prompt[:128], 57)
    assert cut(prompt, 300, env, "end") == (prompt[-128:], 128)


def test_limits_that_leave_nothing_of_responses_are_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for length in (127, 128):
        words = [*WORDS, f"dataset=pref_file:{path}", f"env.max_length={length}"]
        with pytest.raises(UsageError, match=rf"env.max_length={length} leaves nothing of a response"):
            build(config.compose(words))
        assert cli.main(["check", *words]) == 2
        assert "env.max_prompt_length=128" in capsys.readouterr().err
    assert cli.main(["check", *WORDS, f"dataset=pref_file:{path}", "env.max_length=129"]) == 0
    assert cli.main(["check", *WORDS, f"dataset=pref_file:{path}", "env.heads=3"]) == 2


def test_an_ending_stays_behind_what_is_cut(path: Path) -> None:
    env = config.instantiate(config.compose([*WORDS, f"dataset=pref_file:{path}"]).env)
    prompt, ending = list(range(200)), [7, 8]
    assert cut(prompt, 54, env, "start", ending) == ([*prompt, 7, 8], 54)
    assert cut(prompt, 55, env, "start", ending) == ([*prompt[:126], 7, 8], 55)
    assert cut(prompt, 55, env, "end", ending) == ([*prompt[-126:], 7, 8], 55)
    assert cut(prompt, 55, env, "start", prompt)[0] == prompt  # there is no room for anything else


def test_a_post_that_is_cut_still_asks_for_its_summary(tmp_path: Path) -> None:
    """In what is learned from, what is sampled for PPO, and what policies are judged by."""
    for split in ("train", "validation"):
        info = {"subreddit": "s", "title": split, "post": "long " * 60}
        row = {"info": info, "choice": 0, "summaries": [{"text": " yes"}, {"text": " no"}]}
        written(tmp_path / f"{split}.jsonl", [row])
    words = ["algo=dpo", "env=text_tiny", "env.sft_epochs=0", "tracking=disabled", "dataset=tldr"]
    made: Any = build(config.compose([*words, f"dataset.path={tmp_path}"]))[1]
    one = torch.zeros(1, 1, dtype=torch.long)
    for texts in (made.comparisons, made.asked, made.demonstrations):
        text = texts.take(one)
        prompt = bytes(text.prompt[0, 0][text.prompt_mask[0, 0]].tolist())
        assert prompt.startswith(b"SUBREDDIT: r/s\nTITLE: train\nPOST: long ")
        assert prompt.endswith(b"\nTL;DR:")
        assert len(prompt) == 128
    ((words_of_it, tokens, _),) = made.prompts
    assert words_of_it.endswith("long \nTL;DR:")
    assert bytes(tokens).endswith(b"\nTL;DR:")
    assert len(tokens) == 128


def test_policies_are_judged_by_prompts_of_another_kind_as_well(path: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.jsonl", [{"prompt": f"Tell me {i}", "response": " no"} for i in range(3)])
    word = f"env.shifted=prompts:{other}"
    plain, made = task(path, "env.max_new=8"), task(path, "env.max_new=8", "eval.episodes=2", word)
    assert plain.shifted == []
    assert [(words, bytes(tokens), known) for words, tokens, known in made.shifted] == [
        (f"Tell me {i}", f"Tell me {i}".encode(), " no") for i in range(2)
    ]

    asked: list[str] = []

    class Knows(Judge):
        def prefers(self, prompt: str, first: str, second: str) -> Verdict:
            asked.append(prompt)
            if prompt.endswith("?"):
                return "tie"
            return "second" if first == " no" else "first"

    judged: Any = made.__class__(**{**vars(made), "judge": Knows(), "reward": Same(), "prompts": made.prompts[:1]})
    metrics = judged.evaluate(made.reference)
    assert asked[1:] == ["Tell me 0", "Tell me 1"]
    assert float(metrics["eval/tie_rate"]) == float(metrics["eval/shifted_win_rate"]) == 1
    assert float(metrics["eval/win_rate"]) == float(metrics["eval/shifted_tie_rate"]) == 0
    assert float(metrics["eval/shifted_reward"]) == 0.5
    assert {name for name in metrics if "shifted" in name} == {
        f"eval/shifted_{name}" for name in ("win_rate", "tie_rate", "reward", "kl", "tokens")
    }
    assert next(iter(metrics)) == "eval/win_rate"
    # What is told of the comparisons' own prompts does not depend on the others.
    own = plain.evaluate(plain.reference)
    again = task(path, "env.max_new=8", word).evaluate(plain.reference)
    assert {name: again[name] for name in own} == own


def test_prompts_that_a_judge_can_do_nothing_with_are_refused(path: Path, tmp_path: Path) -> None:
    made = task(path)
    env: Any = made.env
    for rows, message in (
        ([], "there is no prompt in it"),
        ([{"prompt": "a"}], "the judge needs a response on every row"),
    ):
        other = written(tmp_path / "other.jsonl", rows)
        asking = dataclasses.replace(env, shifted=f"prompts:{other}", judge=object())
        with pytest.raises(UsageError, match=rf"env.shifted=prompts:.*: {message}"):
            other_prompts(asking, made, made.backend, "start")


def test_only_what_is_to_be_imitated_is_demonstrated(path: Path) -> None:
    """Prompts whose responses nobody compared, or found all alike, are no demonstrations of silence."""
    uncompared = [{"prompt": f"{i}!", "responses": ["a", "b"], "pairs": []} for i in range(40)]
    tied = [{"prompt": f"{i}.", "responses": ["a", "bb"], "scores": [1, 1]} for i in range(40)]
    made = task(written(path, [*rows(), *uncompared, *tied]))
    text = made.demonstrations.take(torch.arange(len(made.demonstrations))[None])
    assert bool((text.response_mask.sum(-1) > 1).all())
    last = text.prompt[0, :, -1].tolist()
    assert ord("!") not in last
    assert {ord("?"), ord(".")} == set(last)
    assert not bool((made.comparisons.take(torch.arange(len(made.comparisons))[None]).prompt == ord(".")).any())


def test_a_prompt_that_is_answered_by_samples_leaves_room_for_them(path: Path) -> None:
    """In PPO too: a prompt may be longer behind which a short response of the data stands."""
    long = [{**row, "prompt": row["prompt"] * 40} for row in rows()]
    made = task(written(path, long), "env.max_length=100", "env.max_prompt_length=50", "env.max_new=64")
    index = torch.arange(len(made.comparisons))[None]
    assert made.comparisons.take(index).prompt.shape[-1] > 50
    assert made.asked.take(index).prompt.shape[-1] == 50
    assert len(made.asked) == len(made.comparisons)


def test_the_base_model_is_made_anew_whenever_it_is_asked_for(path: Path) -> None:
    """Always the same, never shared, and not what the reference has become."""
    made = task(path, "env.sft_epochs=1", "seeds=2")
    text = made.comparisons.take(torch.arange(4).expand(2, -1))
    first, second = made.base(), made.base()
    assert torch.equal(first.logp(text), second.logp(text))
    assert not {value.data_ptr() for value in first.parameters()} & {value.data_ptr() for value in second.parameters()}
    assert all(value.requires_grad for value in first.parameters())
    assert not torch.allclose(first.logp(text), made.reference.logp(text), atol=0.1)


class Likes(Judge):
    """Prefers answers of the data: whatever is said, the order must not matter."""

    def __init__(self, verdicts: dict[str, Verdict]) -> None:
        self.verdicts, self.firsts = verdicts, 0

    def prefers(self, prompt: str, first: str, second: str) -> Verdict:
        self.firsts += first.startswith("yes")
        if self.verdicts:
            return "tie"
        return "first" if first.startswith("yes") else "second"


def test_the_judge_hears_both_answers_in_any_order(path: Path) -> None:
    made = task(path, "eval.episodes=1000")
    assert len(made.prompts) >= 1
    many = made.prompts * 40
    for verdicts, win, tie in (({}, 0.0, 0.0), ({"all": "tie"}, 0.0, 1.0)):
        judge = Likes(verdicts)  # type: ignore[arg-type]
        seen: Any = made.__class__(**{**vars(made), "judge": judge, "prompts": many})
        metrics = seen.evaluate(made.reference)
        assert float(metrics["eval/win_rate"]) == win
        assert float(metrics["eval/tie_rate"]) == tie
        assert 0.2 < judge.firsts / len(many) < 0.8
        assert next(iter(metrics)) == "eval/win_rate"
        assert abs(float(metrics["eval/kl"])) < 1e-4  # the reference's own samples


class Shouts(Judge):
    """Says what is no verdict."""

    def prefers(self, prompt: str, first: str, second: str) -> Verdict:
        return "Tie"  # type: ignore[return-value]


def test_a_judge_that_says_something_else_is_told_so(path: Path) -> None:
    made = task(path)
    seen: Any = made.__class__(**{**vars(made), "judge": Shouts()})
    with pytest.raises(UsageError, match=r"Shouts.prefers says 'Tie'\nwanted is one of first, second, tie"):
        seen.evaluate(made.reference)


def test_a_missing_package_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])  # nothing is found any more that was not imported before
    for name in ("transformers", "peft"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    cfg = config.compose(["algo=dpo", "env=text", "env.model=x", "env.lora_rank=4", f"dataset=pref_file:{path}"])
    with pytest.raises(RunError, match=r"env=text needs transformers, peft: pip install 'rlbench\[language\]'"):
        config.instantiate(cfg.env).require()


def test_a_reward_that_nobody_knows_is_refused(path: Path) -> None:
    words = ["algo=rlhf_ppo", "algo.reward=ground_truth", *WORDS[1:], f"dataset=pref_file:{path}"]
    with pytest.raises(UsageError, match="nobody knows the reward"):
        build(config.compose(words))


class Lengths(Reward):
    """The longer, the better."""

    def rewards(self, prompts: Sequence[str], responses: Sequence[str]) -> Sequence[float]:
        assert all(prompt.removesuffix("?").isdigit() for prompt in prompts)
        return [len(response) for response in responses]


def test_a_reward_grades_responses_in_words(path: Path) -> None:
    made = task(path, "seeds=2", "env.max_new=8", "eval.episodes=1000")
    seen: Any = made.__class__(**{**vars(made), "reward": Lengths(), "prompts": made.prompts * 20})
    assert seen.decides
    known = seen.comparisons.take(torch.arange(6).expand(2, -1))
    chosen, rejected = seen.comparisons.apart(seen.graded(known))
    assert chosen.shape == (2, 6)
    assert set(chosen.flatten().tolist()) <= {3.0, 6.0, 9.0}
    assert set(rejected.flatten().tolist()) == {2.0}
    metrics = seen.evaluate(seen.reference)
    assert next(iter(metrics)) == "eval/reward"
    # Of random bytes, those that are no text in UTF-8 are one character each, or fewer.
    assert bool((metrics["eval/reward"] <= metrics["eval/tokens"]).all())
    best = seen.evaluate_best(seen.true_reward(), 8)["eval/reward"]
    assert bool((best > metrics["eval/reward"]).all())


def test_the_true_reward_has_mean_0_and_deviation_1(path: Path) -> None:
    """Over the responses of the data, for each seed; whose order it does not change."""
    made: Any = task(path, "seeds=2")
    seen: Any = made.__class__(**{**vars(made), "reward": Lengths()})
    count = len(made.comparisons)
    every = made.comparisons.take(torch.arange(count).expand(2, -1))
    normal, graded = seen.true_reward()(every), seen.graded(every)
    assert normal.shape == (2, 2 * count)
    assert torch.allclose(normal.mean(1), torch.zeros(2), atol=1e-5)
    assert torch.allclose(normal.std(1), torch.ones(2), atol=1e-5)
    slope = (normal[:, 1:] - normal[:, :1]) / (graded[:, 1:] - graded[:, :1])
    assert torch.allclose(slope.nan_to_num(), torch.where(slope.isnan(), 0.0, 1 / graded.std(1, keepdim=True)))
    lazy: Any = made.__class__(**{**vars(made), "reward": Same()})
    with pytest.raises(RunError, match="the reward is the same number for all responses"):
        lazy.true_reward()


class Same(Reward):
    """Likes all responses alike."""

    def rewards(self, prompts: Sequence[str], responses: Sequence[str]) -> Sequence[float]:
        return [0.5] * len(responses)


class Lazy(Reward):
    """Has one number for all."""

    def rewards(self, prompts: Sequence[str], responses: Sequence[str]) -> Sequence[float]:
        return [1.0 / (len(prompts) + len(responses))]


def test_a_reward_has_a_number_for_every_response(path: Path) -> None:
    made = task(path)
    text = made.comparisons.take(torch.arange(6)[None])
    seen: Any = made.__class__(**{**vars(made), "reward": Lazy()})
    with pytest.raises(UsageError, match=r"Lazy.rewards gives not as many numbers"):
        seen.graded(text)


@pytest.mark.parametrize(
    "words",
    [
        ["algo=dpo", "algo.micro_batch=8"],
        ["algo=rlhf_ppo", "algo.batch_size=16", "algo.micro_batch=6", "algo.reward_epochs=1", "steps=32"],
        ["algo=best_of_n", "algo.n=2"],
        ["algo=preferred_ft"],
    ],
)
@pytest.mark.parametrize("lines", [rows, rankings])
def test_every_kind_of_algorithm_learns_from_words(
    path: Path, words: list[str], lines: Callable[[], list[dict[str, Any]]]
) -> None:
    common = [f"dataset=pref_file:{written(path, lines())}", "env.max_new=8", "eval.episodes=2", "seeds=2"]
    algorithm, _ = build(config.compose([*WORDS, *common, *words]))
    metrics = {**algorithm.train(32), **algorithm.evaluate()}
    for name, value in metrics.items():
        assert torch.as_tensor(value).shape == (2,), name
        assert bool(torch.isfinite(torch.as_tensor(value)).all()), name
