"""Prompts of another kind, from the files that people have of them."""

from pathlib import Path

import polars
import pytest

from rlbench.data.prompts import Prompt, source
from rlbench.errors import UsageError
from tests.data.helpers import written

NEWS = [{"article": f"It rained {i} times.", "highlights": f"Rain, {i} times.", "id": str(i)} for i in range(3)]


def test_articles_are_those_of_the_newest_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the cache of Hugging Face lie three versions of them."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "datasets--abisee--cnn_dailymail" / "snapshots" / "96df"
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        (place / version).mkdir(parents=True)
        for split, rows in (("train", NEWS[:1]), ("test", NEWS[1:]), ("validation", NEWS[:1])):
            polars.DataFrame(rows).write_parquet(place / version / f"{split}-00000-of-00001.parquet")
    wanted = [Prompt(f"It rained {i} times.", "\nTL;DR:", f" Rain, {i} times.") for i in (1, 2)]
    assert list(source("cnn_dailymail")) == wanted
    assert wanted[0].words == "It rained 1 times.\nTL;DR:"
    own = written(tmp_path / "articles.jsonl", NEWS[1:])
    assert list(source(f"cnn_dailymail:{own}")) == wanted


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = written(tmp_path / "prompts.jsonl", [{"prompt": "a?", "response": " yes"}, {"prompt": "b?"}])
    assert list(source(f"prompts:{path}")) == [Prompt("a?", "", " yes"), Prompt("b?", "", "")]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "cnn_dailymial",
            r"env.shifted=cnn_dailymial: no source of prompts cnn_dailymial\ndid you mean cnn_dailymail\?",
        ),
        ("xsum", r"no source of prompts xsum\nthere are prompts, cnn_dailymail; a file is prompts:FILE"),
        ("prompts", r"env.shifted=prompts: which\?\nwanted is env.shifted=prompts:FILE"),
        ("prompts:{}/none.jsonl", r"env.shifted=prompts: .*none.jsonl does not exist"),
        ("prompts:{}/bad.jsonl", r"env.shifted=prompts: .* row 1 has no prompt, a text that is not empty"),
        ("cnn_dailymail", r"env.shifted=cnn_dailymail: abisee/cnn_dailymail is not in .*\n`hf download .*"),
        ("cnn_dailymail:{}/bad.jsonl", r"env.shifted=cnn_dailymail: .* row 1 has no article, a text"),
    ],
)
def test_slips_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, message: str) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    written(tmp_path / "bad.jsonl", [{"question": "a?"}])
    with pytest.raises(UsageError, match=message):
        list(source(word.format(tmp_path)))
