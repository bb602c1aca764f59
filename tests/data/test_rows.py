"""Rows of texts, from files in their several forms."""

import gzip
from pathlib import Path

import pytest

from rlbench.data.rows import Rows, split_of
from rlbench.errors import UsageError


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pairs.jsonl.gz", b"no zip"),
        ("pairs.jsonl.gz", gzip.compress(b'{"prompt": "q", "chosen": "a", "rejected": "b"}')[:-9]),
        ("pairs.jsonl", b'{"prompt": "caf\xe9", "chosen": "a", "rejected": "b"}'),
        ("pairs.parquet", b"no parquet"),
    ],
    ids=["no zip", "cut off", "Latin-1", "no parquet"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"cannot be read: {name}: "):
        list(Rows("texts", str(tmp_path)).rows())


def test_a_split_is_named_by_a_word_of_its_own() -> None:
    assert [split_of(name) for name in ("latest/train.jsonl", "contest.json", "data/train-00000-of-00001.parquet")] == [
        "train", None, "train",
    ]  # fmt: skip
    assert [split_of(name) for name in ("test/train.json", "test/a.json", "Validation_1.json")] == [
        "train", "test", "validation",
    ]  # fmt: skip
