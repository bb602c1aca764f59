"""Rows of texts, from files in their several forms."""

import base64
import gzip
import io
import re
from pathlib import Path

import polars
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


def test_a_parquet_file_at_which_polars_panics_is_named(tmp_path: Path) -> None:
    """A byte of its schema is damaged: the type of a column, which is one that polars does not know."""
    file = io.BytesIO()
    polars.DataFrame({"prompt": ["q"]}).write_parquet(file)
    (schema,) = re.findall(rb"/////[\w+/]+=*", file.getvalue())
    large_text, run_ends = b"\x01\x14", b"\x01\x16"
    other = base64.b64encode(base64.b64decode(schema).replace(large_text, run_ends))
    damaged = file.getvalue().replace(schema, other)
    (tmp_path / "a.parquet").write_bytes(file.getvalue())
    (tmp_path / "b.parquet").write_bytes(damaged)
    assert sum(map(int.__ne__, damaged, file.getvalue())) == 1
    with pytest.raises(UsageError, match=r"cannot be read: b\.parquet: "):
        list(Rows("texts", str(tmp_path)).rows())


def test_json_nested_too_deeply_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep.jsonl").write_text('{"prompt": "q"}\n' + "[" * 100_000 + "]" * 100_000)
    with pytest.raises(UsageError, match=r"line 2 of deep\.jsonl is no JSON: "):
        list(Rows("texts", str(tmp_path)).rows())


def test_a_split_is_named_by_a_word_of_its_own() -> None:
    assert [split_of(name) for name in ("latest/train.jsonl", "contest.json", "data/train-00000-of-00001.parquet")] == [
        "train", None, "train",
    ]  # fmt: skip
    assert [split_of(name) for name in ("test/train.json", "test/a.json", "Validation_1.json")] == [
        "train", "test", "validation",
    ]  # fmt: skip
