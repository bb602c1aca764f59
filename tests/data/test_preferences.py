"""Comparisons read from files: one's own, and the published sets in the form in which they are published."""

import json
from pathlib import Path
from typing import Any

import polars
import pytest

from rlbench.data.preferences import (
    TLDR,
    Entry,
    ImdbSentiment,
    PrefFile,
    PrefHH,
    PrefSE,
    PrefSHP,
    Source,
)
from rlbench.envs.problem import Problem
from rlbench.errors import UsageError
from tests.data.helpers import written

ENV = Problem()


def everything(source: Source) -> list[Entry]:
    data = source.load()
    assert not {entry.prompt for entry in data.train} & {entry.prompt for entry in data.test}
    return sorted([*data.train, *data.test], key=lambda entry: entry.prompt)


def test_a_file_of_ones_own_in_all_its_forms(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "chosen": "good", "rejected": "bad"},
        {"prompt": "b", "responses": ["x", "y", "z"], "pairs": [[2, 0], [2, 1]], "sft_target": "zz"},
        {"prompt": "c", "responses": ["x", "y", "z"], "scores": [0.1, 0.9, 0.1]},
        {"prompt": "a", "chosen": "better", "rejected": "worse"},
        {"prompt": "d", "ranked": ["yes", "no"]},
    ]
    a, b, c, d = everything(PrefFile(ENV, str(written(tmp_path / "pairs.jsonl", rows))))
    assert a == Entry("a", ["good", "bad", "better", "worse"], [(0, 1), (2, 3)], "good")
    assert b == Entry("b", ["x", "y", "z"], [(2, 0), (2, 1)], "zz")
    assert c == Entry("c", ["x", "y", "z"], [(1, 0), (1, 2)], "y")
    assert d == Entry("d", ["yes", "no"], [(0, 1)], "yes")


def test_rankings_of_more_than_two(tmp_path: Path) -> None:
    rows = [{"prompt": prompt, "ranked": [f"{prompt}{i}" for i in range(3)]} for prompt in "aba"]
    a, b = everything(PrefFile(ENV, str(written(tmp_path / "rankings.jsonl", rows))))
    assert a == Entry("a", ["a0", "a1", "a2"] * 2, [(0, 1, 2), (3, 4, 5)], "a0")
    assert b == Entry("b", ["b0", "b1", "b2"], [(0, 1, 2)], "b0")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": "a", "rejected": "b"}, "row 2 has no prompt"),
        ({"prompt": "p", "chosen": "a"}, "row 2 has neither chosen and rejected"),
        ({"prompt": "p", "responses": ["a", "b"], "pairs": [[0, 2]]}, "row 2: pairs are to be lists of two places"),
        ({"prompt": "p", "responses": ["a", "b"], "pairs": [0, 1]}, "row 2: pairs are to be lists of two places"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": 3}, "row 2: scores are to be a list of numbers"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": ["1", None]}, "row 2: scores are to be a list of numbers"),
        ({"prompt": "p", "ranked": ["a"]}, "row 2: ranked is to be a list of at least two responses"),
        ({"prompt": "p", "ranked": ["a", "b", "c"]}, "row 2 compares 3 responses, and rows before it 2"),
        ({"prompt": "p", "responses": ["a", "b"], "scores": [1]}, "row 2 has 2 responses and 1 scores"),
        (["p"], "line 2 of pairs.jsonl is no object"),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "row 2: prompt is to be a text that is not empty"),
        ({"prompt": "p", "chosen": None, "rejected": "b"}, "row 2 has no chosen, a text"),
        ({"prompt": "p", "chosen": "a", "rejected": 5}, "row 2: rejected is to be a text"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "sft_target": 5}, "row 2: sft_target is to be a text"),
        ({"prompt": "p", "ranked": ["a", None]}, "row 2: ranked is to be a list of at least two responses"),
        ({"prompt": "p", "responses": ["a", 1], "scores": [1, 2]}, "row 2: responses is to be a list of texts"),
        ({"prompt": "p", "chosen": "\ud83d", "rejected": "b"}, r"line 2 of pairs.jsonl .* surrogates not allowed"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: Any, message: str) -> None:
    path = written(tmp_path / "pairs.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}, row])
    with pytest.raises(UsageError, match=message):
        PrefFile(ENV, str(path)).load()


@pytest.mark.parametrize(
    ("source", "row", "message"),
    [
        (PrefHH, {"chosen": "\n\nHuman: a\n\nAssistant: b"}, "row 1 has no rejected, a text"),
        (PrefSHP, {"history": "why?"}, "row 1 has no score_A, a number"),
        (PrefSE, {"question": "why?", "answers": ["a"]}, "row 1 has no text, a text"),
        (TLDR, {"info": None, "choice": 0}, "row 1 has no subreddit, a text"),
    ],
)
def test_a_row_that_is_not_as_published_is_named(
    tmp_path: Path, source: type[Source], row: dict[str, Any], message: str
) -> None:
    written(tmp_path / "part" / "train.jsonl", [row])
    with pytest.raises(UsageError, match=f"part/train.jsonl: {message}"):
        source(ENV, str(tmp_path)).load()


def test_the_same_names_and_sizes_are_not_the_same_data(tmp_path: Path) -> None:
    source = PrefHH(ENV, str(tmp_path))
    row = {"chosen": "\n\nHuman: a\n\nAssistant: yes", "rejected": "\n\nHuman: a\n\nAssistant: no!"}
    found = []
    for name, rows in (
        ("train", [row]),
        ("train", [{"chosen": row["rejected"], "rejected": row["chosen"]}]),
        ("test", [row]),
    ):
        written(tmp_path / f"{name}.jsonl", rows)
        found.append(json.dumps(source.identity()))
    assert len(set(found)) == 3


def test_a_split_is_named_by_a_word_of_its_own(tmp_path: Path) -> None:
    """What is judged by is not what was learned from, whatever the folders are called."""

    def rows(answers: str) -> list[dict[str, Any]]:
        asked = [f"\n\nHuman: {question}\n\nAssistant:" for question in answers]
        return [{"chosen": f"{prompt} yes", "rejected": f"{prompt} no"} for prompt in asked]

    written(tmp_path / "latest" / "train.jsonl", rows("abc"))
    with pytest.raises(UsageError, match="holds no file of the split test: with this word in its name"):
        PrefHH(ENV, str(tmp_path)).load()
    written(tmp_path / "latest" / "test.jsonl", rows("cd"))
    data = PrefHH(ENV, str(tmp_path)).load()
    assert [entry.prompt[9] for entry in data.train] == ["a", "b"]
    assert [entry.prompt[9] for entry in data.test] == ["c", "d"]


def test_what_is_imitated(tmp_path: Path) -> None:
    """What the file says, on whichever row of a prompt; else a response that none is better than; else nothing."""
    pair = {"chosen": "good", "rejected": "bad"}
    rows = [
        {"prompt": "a", **pair},
        {"prompt": "a", "chosen": "c", "rejected": "d", "sft_target": "told"},
        {"prompt": "a", **pair, "sft_target": "too late"},
        {"prompt": "b", "responses": ["x", "y", "z"], "scores": [0.5, 1, 1]},
        {"prompt": "c", "responses": ["x", "y"], "scores": [1, 1]},
        {"prompt": "d", "responses": ["x", "y"], "pairs": []},
        {"prompt": "e", **pair},
    ]
    entries = everything(PrefFile(ENV, str(written(tmp_path / "pairs.jsonl", rows))))
    assert [entry.sft_target for entry in entries] == ["told", "y", "x", "", "good"]
    silent = [{"prompt": prompt, "chosen": "", "rejected": "x"} for prompt in "ab"]
    with pytest.raises(UsageError, match="has no response to be imitated"):
        PrefFile(ENV, str(written(tmp_path / "silent.jsonl", silent))).load()


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"dataset=pref_hh: Anthropic/hh-rlhf is not in .*\n`hf download"):
        PrefHH(ENV, None)
    with pytest.raises(UsageError, match="does not exist"):
        PrefFile(ENV, str(tmp_path / "none.jsonl"))
    with pytest.raises(UsageError, match="has one prompt alone: add another"):
        PrefFile(ENV, str(written(tmp_path / "one.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}]))).load()
    scores = written(tmp_path / "imdb.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(UsageError, match="row 1 has no scores"):
        ImdbSentiment(ENV, str(scores)).load()


def test_hh_prompts_end_with_the_last_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the cache of Hugging Face, where it lies zipped, four folders of it, one of which is something else."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "datasets--Anthropic--hh-rlhf" / "snapshots" / "abc"
    prompt = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: more\n\nAssistant:"
    rows = [
        {"chosen": f"{prompt} yes", "rejected": f"{prompt} no"},
        {"chosen": f"{prompt} yes", "rejected": "\n\nHuman: other\n\nAssistant: no"},
    ]
    written(root / "harmless-base" / "train.jsonl.gz", rows)
    written(root / "harmless-base" / "test.jsonl.gz", [{key: f"X{text}" for key, text in rows[0].items()}])
    written(root / "red-team-attempts" / "red_team_attempts_train.jsonl.gz", [{"transcript": "..."}])
    data = PrefHH(ENV, None).load()
    assert data.train == [Entry(prompt, [" yes", " no"], [(0, 1)], " yes")]
    assert data.test == [Entry(f"X{prompt}", [" yes", " no"], [(0, 1)], " yes")]
    assert data.keep == "end"


def test_shp_keeps_what_is_twice_as_good(tmp_path: Path) -> None:
    def row(a: int, b: int, name: str) -> dict[str, Any]:
        refs = {"human_ref_A": f"A{name}", "human_ref_B": f"B{name}"}
        return {"history": "why?", "score_A": a, "score_B": b, "labels": int(a > b), **refs}

    written(tmp_path / "askscience" / "train.json", [row(10, 5, "1"), row(9, 5, "2"), row(3, 60, "3")])
    written(tmp_path / "askscience" / "test.json", [{**row(10, 5, "1"), "history": "how?"}])
    data = PrefSHP(ENV, str(tmp_path)).load()
    prompt = "\n\nHuman: why?\n\nAssistant:"
    assert data.train == [Entry(prompt, [" A1", " B1", " B3", " A3"], [(0, 1), (2, 3)], " B3")]


def test_stack_exchange_is_stripped_and_compared_by_votes(tmp_path: Path) -> None:
    def question(i: int) -> dict[str, Any]:
        answers = [{"text": "<p>a &lt; b</p>", "pm_score": 1}, {"text": "<b>c</b>", "pm_score": 4}]
        return {"question": f"<p>q{i}</p>", "answers": answers}

    polars.DataFrame([question(i) for i in range(200)]).write_parquet(tmp_path / "part.parquet")
    data = PrefSE(ENV, str(tmp_path)).load()
    assert (len(data.train), len(data.test)) == (198, 2)
    entry = data.train[0]
    assert entry.prompt.startswith("\n\nHuman: q")
    assert entry.prompt.endswith("\n\nAssistant:")
    assert (entry.responses, entry.comparisons, entry.sft_target) == ([" a < b", " c"], [(1, 0)], " c")


def test_tldr_takes_the_comparisons_of_posts(tmp_path: Path) -> None:
    def row(post: str | None, choice: int) -> dict[str, Any]:
        info = {"post": post, "title": "T", "subreddit": "S"}
        return {"info": info, "summaries": [{"text": " one"}, {"text": " two"}], "choice": choice}

    written(tmp_path / "comparisons" / "train.json", [row("long", 1), row(None, 0), {"info": {}, "summary": {}}])
    written(tmp_path / "comparisons" / "validation.json", [row("other", 0)])
    data = TLDR(ENV, str(tmp_path)).load()
    prompt = "SUBREDDIT: r/S\nTITLE: T\nPOST: long\nTL;DR:"
    assert data.train == [Entry(prompt, [" two", " one"], [(0, 1)], " two", ending="\nTL;DR:")]
