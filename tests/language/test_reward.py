"""The classifier of controlled sentiment, as the experiment has it, on small models."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs rlbench[language]: transformers")

from rlbench import config
from rlbench.build import build
from rlbench.language import hf
from rlbench.language.reward import ClassifierReward
from tests.language.test_hf import WORDS, saved
from tests.test_sample import LONGEST, classifier


def trained(folder: Path) -> Path:
    """A classifier that finds a text positive that says yes."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(classifier(folder))
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder)
    optimizer, rng = torch.optim.Adam(model.parameters(), 6e-3), np.random.default_rng(0)
    for _ in range(80):
        texts = [" ".join(rng.choice(WORDS[1:], rng.integers(3, 9))) for _ in range(32)]
        labels = torch.tensor([int("yes" in text) for text in texts])
        loss = model(**tokenizer(texts, padding=True, return_tensors="pt"), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.5
    model.save_pretrained(folder)
    return folder


def test_ppo_maximises_what_the_classifier_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards are the classifier's own probabilities, and rise where they are what is learned from."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    model, judge = saved(tmp_path / "model"), trained(tmp_path / "classifier")
    row = {"responses": [" no 1", " yes 2"], "scores": [0.1, 0.9]}
    lines = [json.dumps({**row, "prompt": f"is {i % 10} even {i // 10}", "sft_target": " yes"}) for i in range(60)]
    (tmp_path / "reviews.jsonl").write_text("\n".join(lines))
    words = [
        "experiment=dpo_imdb", "algo=rlhf_ppo", "algo.reward=ground_truth", "hardware=cpu", "tracking=disabled",
        f"dataset.path={tmp_path / 'reviews.jsonl'}", f"env.model={model}", f"env.reward.model={judge}",
        "env.max_length=16", "env.max_prompt_length=8", "env.max_new=4", "env.sft_epochs=0", "algo.micro_batch=null",
        "algo.batch_size=64", "algo.learning_rate=1e-3", "algo.critic_learning_rate=1e-3", "algo.warmup_updates=16",
        "algo.beta=0.01",
    ]  # fmt: skip
    algorithm, task = build(config.compose(words))
    known: Any = task
    assert known.reward is not None
    # What is maximised has mean 0 and deviation 1 over the responses of the data: here it is a probability again.
    every = known.comparisons.take(torch.arange(len(known.comparisons))[None])
    deviation, mean = torch.std_mean(known.graded(every))
    first, *_, last = (float(mean + deviation * algorithm.train(64)["train/reward"]) for _ in range(5))
    assert last > first + 0.3

    text = known.comparisons.take(torch.arange(4)[None])
    tokenizer: Any = AutoTokenizer.from_pretrained(judge)
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(judge)
    ((prompts, responses),) = known.words(text)
    expected = []
    for prompt, response in zip(prompts, responses, strict=True):
        assert prompt.startswith("is ")
        assert response.strip() in ("no 1", "yes 2")
        with torch.no_grad():
            logits = theirs(**tokenizer(prompt + response, return_tensors="pt")).logits
        expected.append(float(logits.softmax(-1)[0, 1]))
    assert known.graded(text)[0].tolist() == pytest.approx(expected, abs=1e-4)
    assert float(algorithm.evaluate()["eval/reward"]) > first


def test_a_reward_model_of_one_output_says_what_it_is(tmp_path: Path) -> None:
    """Its softmax would be 1, whatever the text."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = classifier(tmp_path / "model")
    torch.manual_seed(0)
    made: Any = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, ignore_mismatched_sizes=True)
    made.save_pretrained(folder)
    texts = ["is 3 even yes", "is 4 even no"]
    found = hf.probabilities(str(folder), "LABEL_0", torch.device("cpu"), "env.reward")(texts)
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(folder).train(False)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        expected = [float(theirs(**tokenizer(text, return_tensors="pt")).logits) for text in texts]
    assert found == pytest.approx(expected, abs=1e-4)
    assert abs(found[0] - found[1]) > 1e-3


def test_of_a_long_prompt_the_classifier_reads_the_end_and_the_response(tmp_path: Path) -> None:
    """Grades of what it would not read whole are those of the last tokens that it reads, special ones included."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    folder = classifier(tmp_path / "classifier")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<end> $A <end>", special_tokens=[("<end>", 0)]
    )
    tokenizer.save_pretrained(folder)
    task: Any = SimpleNamespace(device=torch.device("cpu"))
    reward = ClassifierReward(task, model=str(folder), label="POSITIVE")
    prompt, responses = "it is even " * 20, ["yes", "no 1", "3 4 5 6"]
    room = LONGEST - 2
    ends = [" ".join((prompt + response).split()[-room:]) for response in responses]
    grades = reward.rewards([prompt] * 3, responses)
    assert grades == reward.rewards([""] * 3, ends)
    assert len(set(grades)) == 3
