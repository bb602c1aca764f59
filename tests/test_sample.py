"""Continued beginnings of reviews: by small models with random weights and a tokenizer of their own, made here."""

import fcntl
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs rlbench[language]: transformers")

from rlbench import cli, config, sample
from rlbench.data.preferences import ImdbSentiment
from rlbench.envs.problem import Problem
from rlbench.errors import RunError, UsageError
from rlbench.run import run
from rlbench.sample import Asked
from rlbench.verbs import data as verb
from tests.language.test_hf import WORDS, saved

CPU = torch.device("cpu")
LONGEST = 12  # tokens that the classifier reads
FILES = {"model": "model", "classifier": "classifier", "texts": "reviews.jsonl"}


def classifier(folder: Path, labels: tuple[str, str] = ("NEGATIVE", "POSITIVE")) -> Path:
    from transformers import AutoTokenizer, RobertaConfig, RobertaForSequenceClassification

    saved(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    size: dict[str, Any] = {"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 32, "pad_token_id": 0}
    layers: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 2 + LONGEST}
    model: Any = RobertaForSequenceClassification(RobertaConfig(**size, **layers, id2label=dict(enumerate(labels))))
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(5)
    model.save_pretrained(folder)
    return folder


def reviews(count: int = 30) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS[1:], 9 + i % 5)) for i in range(count)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sampling")
    saved(folder / "model")
    classifier(folder / "classifier")
    texts = [*reviews(), "too short"]
    (folder / "reviews.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return folder


def words(place: Path, **changed: Any) -> list[str]:
    given = {**{name: place / file for name, file in FILES.items()}, "max_new": 6, "batch": 8, **changed}
    return ["sample", *(f"{key}={value}" for key, value in given.items())]


def asked(place: Path, **changed: Any) -> Asked:
    names = {name: str(place / file) for name, file in FILES.items()}
    rest = {"label": "POSITIVE", "prompts": 100, "responses": 4, "max_new": 6, "batch": 8, "seed": 0}
    return Asked(**{**names, **rest, **changed})


def test_beginnings_of_reviews_are_continued_and_scored(place: Path, tmp_path: Path) -> None:
    """Scores against the classifier's own answer to one text at a time, cut but not filled."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = sample.sample(asked(place), tmp_path / "made.jsonl", CPU)
    assert [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()] == rows
    assert sorted(row["prompt"] + row["sft_target"] for row in rows) == sorted(reviews())
    assert {len(row["prompt"].split()) for row in rows} == set(range(2, 9))
    assert all(len(row["responses"]) == len(row["scores"]) == 4 for row in rows)
    written = [response for row in rows for response in row["responses"]]
    assert len(set(written)) > len(written) / 2
    assert {word for response in written for word in response.split()} == set(WORDS[1:])
    assert max(len(response.split()) for response in written) == 6
    assert max(len((row["prompt"] + row["responses"][0]).split()) for row in rows) > LONGEST
    tokenizer: Any = AutoTokenizer.from_pretrained(place / "classifier")
    model: Any = AutoModelForSequenceClassification.from_pretrained(place / "classifier")
    scores = [score for row in rows for score in row["scores"]]
    assert max(scores) - min(scores) > 0.05
    for row in rows[:5]:
        for response, score in zip(row["responses"], row["scores"], strict=True):
            tokens = tokenizer(row["prompt"] + response, return_tensors="pt")["input_ids"][:, -LONGEST:]
            with torch.no_grad():
                probability = model(input_ids=tokens).logits.softmax(-1)[0, 1]
            assert float(probability) == pytest.approx(score, abs=1e-4)


def test_continuations_come_as_often_as_the_model_says(place: Path, tmp_path: Path) -> None:
    """First tokens of many samples of few beginnings, padded to a common length, against the model's probabilities."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    few = asked(place, prompts=3, responses=1500, max_new=1)
    tokenizer: Any = AutoTokenizer.from_pretrained(place / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(place / "model")
    for row in sample.sample(few, tmp_path / "made.jsonl", CPU):
        with torch.no_grad():
            given = tokenizer(row["prompt"], add_special_tokens=False, return_tensors="pt")
            expected = model(**given).logits[0, -1].softmax(-1)
        ids = [WORDS.index(response.strip() or "<end>") for response in row["responses"]]
        found = torch.bincount(torch.tensor(ids), minlength=len(WORDS)) / 1500
        assert bool(((found - expected).abs() < 4.5 * (expected / 1500).sqrt() + 1e-3).all())


def test_sampling_goes_on_where_it_was_stopped(place: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole.jsonl", tmp_path / "stopped.jsonl"
    sample.sample(asked(place), whole, CPU)

    def stop(_: str, done: int, __: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample.sample(asked(place), stopped, CPU, stop)
    partial = tmp_path / ".stopped.jsonl.partial"
    content = partial.read_text()
    assert len(content.splitlines()) == 1 + 16
    assert not stopped.exists()
    partial.write_text(content + content.splitlines()[3] + "\n" + content.splitlines()[4][:20])  # killed in a batch
    with pytest.raises(UsageError, match="holds what other words sampled"):
        sample.sample(asked(place, seed=1), stopped, CPU)
    with partial.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # as another process of these words holds it
        with pytest.raises(UsageError, match="another process is sampling into it"):
            sample.sample(asked(place), stopped, CPU)
    began: list[int] = []
    sample.sample(asked(place), stopped, CPU, lambda _, done, __: began.append(done))
    assert began == [16, 24]
    assert stopped.read_bytes() == whole.read_bytes()
    assert not partial.exists()
    assert sample.sample(asked(place, seed=1), tmp_path / "other.jsonl", CPU)[0] != json.loads(
        whole.read_text().split("\n")[0]
    )


def test_the_file_is_a_data_set(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    to = tmp_path / "new" / "made.jsonl"
    assert cli.main(["data", *words(place), "--to", str(to)]) == 0
    told = capsys.readouterr().out
    assert "30 beginnings, 4 continuations each, mean p(POSITIVE) 0." in told
    assert told.endswith(f"rlbench algo=dpo env=text env.model={place / 'model'} dataset=imdb_sentiment:{to}\n")
    cfg = config.compose([
        *told.splitlines()[-1].split()[1:], "steps=64", "eval.every=64", "eval.episodes=2", "env.max_new=4",
        "env.max_length=24", "env.max_prompt_length=8", "algo.batch_size=16", "tracking=disabled",
    ])  # fmt: skip
    assert run(cfg) == 0
    card = ImdbSentiment(Problem(), str(to)).load().card
    equal = sum(len(scores) - len(set(scores)) for scores in (json.loads(line)["scores"] for line in to.open()))
    assert 30 * 6 - 6 * equal <= card["rows"] + card["held_out"] <= 30 * 6


def test_slips_are_answered(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    to = ["--to", str(tmp_path / "made.jsonl")]
    blank = classifier(tmp_path / "blank", ("LABEL_0", "LABEL_1"))
    (tmp_path / "short.jsonl").write_text('{"text": "is it"}\n')
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "other.jsonl").write_text('{"review": "is it"}\n')
    for given, message in (
        (["sample", *to], "model= is missing"),
        (words(place), "--to FILE.jsonl is missing"),
        ([*words(place, promts=3), *to], r"no word promts= here\ndid you mean prompts=\?"),
        ([*words(place, responses=1), *to], "responses=1: at least 2"),
        ([*words(place, max_new=25), *to], "max_new=25: .* has 32 positions"),
        ([*words(place, classifier=blank), *to], r"has no label POSITIVE\nlabel=LABEL_0 or label=LABEL_1 chooses"),
        ([*words(place, texts=tmp_path / "none"), *to], "texts: .*none does not exist"),
        ([*words(place, texts=tmp_path / "other.jsonl"), *to], r"texts: .*other.jsonl row 1 has no text, a text"),
        ([*words(place, texts=tmp_path / "empty.jsonl"), *to], "has no rows"),
        ([*words(place, texts=tmp_path / "short.jsonl"), *to], "all are shorter than 9 tokens"),
        ([*words(place, texts=""), *to], r"texts: stanfordnlp/imdb is not in .*\n`hf download .*, or texts=FILE"),
        ([*words(place), "--to", str(place / "reviews.jsonl")], "it exists"),
    ):
        with pytest.raises(UsageError, match=message):
            verb.main(given)
    for word in ("model", "classifier"):
        with pytest.raises(RunError, match=rf"{word}: no model .*none .*\n`hf download .*none` fetches"):
            verb.main([*words(place, **{word: tmp_path / "none"}), *to])
    monkeypatch.setattr(sys, "path", [])  # nothing is found any more that was not imported before
    monkeypatch.delitem(sys.modules, "transformers")
    with pytest.raises(RunError, match=r"data sample needs transformers: pip install 'rlbench\[language\]'"):
        verb.main([*words(place), *to])
