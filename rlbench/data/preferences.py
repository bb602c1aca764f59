"""Comparisons of responses to prompts: files of one's own, and the published sets as their users downloaded them.

Whatever the source, a set is a list of `Entry`: one prompt, its responses, which of them were preferred to which, and
the response to be imitated.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.data.checksum import checksum
from rlbench.data.rows import Rows, are_texts, is_score
from rlbench.errors import RunError

if TYPE_CHECKING:
    from rlbench.data.store import Progress
    from rlbench.envs.problem import Problem

RATIO = 2.0  # of the scores of two responses of SHP, at least, to count as a comparison
REQUEST = "\nTL;DR:"  # behind a text that is to be summarised
HELD_OUT_PERCENT = 5  # of the prompts of a file without a split of its own


@dataclass
class Entry:
    """A prompt with its responses.

    Attributes:
        prompt: the prompt.
        responses: the responses.
        comparisons: places of responses, the preferred one first; all entries of a set compare equally many.
        sft_target: the response to be imitated; "" where there is none.
        ending: with what the prompt ends, which stays behind it where it is cut.
    """

    prompt: str
    responses: list[str] = field(default_factory=list)
    comparisons: list[tuple[int, ...]] = field(default_factory=list)
    sft_target: str = ""
    ending: str = ""

    def add(self, better: str, worse: str) -> None:
        """One more comparison."""
        first = len(self.responses)
        self.responses += [better, worse]
        self.comparisons.append((first, first + 1))
        self.sft_target = self.sft_target or better


@dataclass(frozen=True)
class Preferences:
    """Comparisons, by prompts that are learned from and prompts that are not.

    Attributes:
        train, test: prompts with comparisons; none is in both.
        keep: which part of a prompt stays that is too long, its `start` or its `end`.
        fingerprint: a hash of all of it.
        card: where it comes from.
    """

    train: list[Entry]
    test: list[Entry]
    keep: str
    fingerprint: str
    card: dict[str, Any]


class Source(Rows, ABC):
    """Where comparisons come from: a file or folder of one's own, or the cache of Hugging Face.

    Args:
        env: the problem.
        path: the file or folder; null: what `hf download` left in the cache.

    Raises:
        UsageError: it is not there.
    """

    word: str
    """The word after `dataset=`."""
    hub: str | None = None
    """The set's name on the hub."""
    keep = "start"

    def __init__(self, env: Problem, path: str | None) -> None:
        super().__init__(f"dataset={self.word}", path, self.hub, "dataset.path=FOLDER")

    @abstractmethod
    def read(self) -> tuple[list[Entry], list[Entry]]:
        """Prompts to be learned from, and the others."""

    def identity(self) -> dict[str, Any]:
        """The content of its files, and of a folder's the names.

        Raises:
            UsageError: there are none.
            RunError: one cannot be read.
        """
        try:
            if self.path.is_file():
                return {"source": self.word, "sha256": checksum(self.path)}
            files = [[str(path.relative_to(self.path)), checksum(path)] for path in self.files()]
        except OSError as error:
            raise RunError(f"{self.who}: {error}") from error
        return {"source": self.word, "files": files}

    def load(self, progress: Progress | None = None) -> Preferences:
        """All comparisons, in memory. A prompt that is to be judged by is not learned from, wherever else it stands.

        Raises:
            UsageError: the files are not what they should be.
        """
        if progress is not None:
            progress(f"reading {self.path.name}", 0, 1)
        train, test = self.read()
        judged = {entry.prompt for entry in test}
        train = [entry for entry in train if entry.prompt not in judged]
        parts = ("rows", train), ("held_out", test)
        for name, entries in (("to learn from", train), ("to be judged by", test)):
            if not any(entry.comparisons for entry in entries):
                raise self.bad(f"has no comparisons {name}")
        if not any(entry.sft_target for entry in train):
            raise self.bad("has no response to be imitated: all are empty")
        content = json.dumps([[vars(entry) for entry in part] for part in (train, test)])
        counts = {name: sum(len(entry.comparisons) for entry in part) for name, part in parts}
        card = {"id": self.word, "level": self.word, "source": str(self.path.absolute()), **counts}
        return Preferences(train, test, self.keep, hashlib.sha256(content.encode()).hexdigest(), card)


class PrefFile(Source):
    """Comparisons of one's own: a file with an object in JSON on every line.

    Each has a `prompt` and either `chosen` and `rejected`, or `ranked` (responses, the best first), or `responses` with
    `pairs` (places, the better first) or with `scores` (all pairs of different scores). `sft_target` is the response to
    be imitated, on any row of its prompt; without it, the first chosen or the best. A twentieth of the prompts is held
    out.
    """

    word = "pref_file"

    def read(self) -> tuple[list[Entry], list[Entry]]:
        entries: dict[str, Entry] = {}
        targets: dict[str, str] = {}
        K = None
        for row in self.rows():
            prompt = self.of(row, "prompt", "a text that is not empty")
            entry = entries.setdefault(prompt, Entry(prompt))
            first = len(entry.responses)
            responses, comparisons, best = self.comparisons(row)
            for places in comparisons:
                K = K or len(places)
                if len(places) != K:
                    raise self.bad(
                        f"{self.where} compares {len(places)} responses, and rows before it {K}: all are to be alike"
                    )
                entry.comparisons.append(tuple(first + place for place in places))
            entry.responses += responses
            entry.sft_target = entry.sft_target or best
            if row.get("sft_target") not in (None, ""):
                targets.setdefault(prompt, self.of(row, "sft_target", "a text"))
        for prompt, target in targets.items():
            entries[prompt].sft_target = target
        train = [entry for entry in entries.values() if not held_out(entry.prompt)]
        test = [entry for entry in entries.values() if held_out(entry.prompt)]
        if len(entries) == 1:
            raise self.bad("has one prompt alone: add another, for a policy is not judged by what it learned from")
        if not test and len(train) > 1:  # a small file may have no prompt whose hash is low
            test = [train.pop()]
        return train, test

    def comparisons(self, row: dict[str, Any]) -> tuple[list[str], Sequence[tuple[int, ...]], str]:
        """The responses of a row, its comparisons, the most telling first, and a response that none is better than."""
        where = self.where
        if "chosen" in row and "rejected" in row:
            chosen, rejected = (self.of(row, name, "a text") for name in ("chosen", "rejected"))
            return [chosen, rejected], [(0, 1)], chosen
        if "ranked" in row:
            ranked = row["ranked"]
            if not are_texts(ranked) or len(ranked) < 2:
                raise self.bad(f"{where}: ranked is to be a list of at least two responses, the best first")
            return ranked, [tuple(range(len(ranked)))], ranked[0]
        if "responses" not in row or not ("pairs" in row or "scores" in row):
            raise self.bad(f"{where} has neither chosen and rejected, nor ranked, nor responses with pairs or scores")
        texts = self.of(row, "responses", "a list of texts")
        if "pairs" in row:
            pairs, places = row["pairs"], range(len(texts))
            if not isinstance(pairs, list) or not all(is_pair(pair, places) for pair in pairs):
                raise self.bad(f"{where}: pairs are to be lists of two places of responses, 0 to {len(texts) - 1}")
            return texts, [tuple(pair) for pair in pairs], texts[pairs[0][0]] if pairs else ""
        scores = row["scores"]
        if not isinstance(scores, list) or not all(is_score(score) for score in scores):
            raise self.bad(f"{where}: scores are to be a list of numbers")
        if len(scores) != len(texts):
            raise self.bad(f"{where} has {len(texts)} responses and {len(scores)} scores")
        return texts, scored_pairs(scores), best_of(texts, scores)


def is_pair(pair: Any, places: range) -> bool:
    """Whether these are two of the places."""
    return isinstance(pair, list) and len(pair) == 2 and all(type(place) is int and place in places for place in pair)


class ImdbSentiment(PrefFile):
    """Beginnings of film reviews with several continuations and their scores by a classifier, one's own file."""

    word = "imdb_sentiment"

    def comparisons(self, row: dict[str, Any]) -> tuple[list[str], Sequence[tuple[int, ...]], str]:
        if "scores" not in row:
            raise self.bad(f"{self.where} has no scores: prompt, responses and scores (p(positive) of each) are wanted")
        return super().comparisons(row)


class PrefHH(Source):
    """Anthropic's helpful and harmless dialogues: a prompt is all up to the last "Assistant:"."""

    word, hub, keep = "pref_hh", "Anthropic/hh-rlhf", "end"

    def read(self) -> tuple[list[Entry], list[Entry]]:
        return self.split("train"), self.split("test")

    def split(self, name: str) -> list[Entry]:
        entries: dict[str, Entry] = {}
        turn = "\n\nAssistant:"
        for row in self.rows(name):
            if "chosen" not in row:  # red-team attempts
                continue
            chosen, rejected = (self.of(row, key, "a text") for key in ("chosen", "rejected"))
            end = chosen.rfind(turn) + len(turn)
            prompt = chosen[:end]
            if end < len(turn) or not rejected.startswith(prompt):
                continue  # the two dialogues differ before the last turn: no comparison of responses
            entries.setdefault(prompt, Entry(prompt)).add(chosen[end:], rejected[end:])
        return list(entries.values())


class PrefSHP(Source):
    """Stanford's human preferences (Reddit): pairs in which one score is at least twice the other."""

    word, hub = "pref_shp", "stanfordnlp/SHP"

    def read(self) -> tuple[list[Entry], list[Entry]]:
        return self.split("train"), self.split("test")

    def split(self, name: str) -> list[Entry]:
        entries: dict[str, Entry] = {}
        best: dict[str, float] = {}
        for row in self.rows(name):
            scores = [self.of(row, key, "a number") for key in ("score_A", "score_B")]
            if max(scores) < RATIO * min(scores):
                continue
            answers = [" " + self.of(row, key, "a text") for key in ("human_ref_A", "human_ref_B")]
            better, worse = answers if self.of(row, "labels", "a number") == 1 else answers[::-1]
            prompt = dialogue(self.of(row, "history", "a text"))
            entry = entries.setdefault(prompt, Entry(prompt))
            entry.add(better, worse)
            if max(scores) > best.get(prompt, 0):
                best[prompt], entry.sft_target = max(scores), better
        return list(entries.values())


class PrefSE(Source):
    """Answers from Stack Exchange, compared by votes; of the questions, shuffled with seed 42, 1 % is held out."""

    word, hub = "pref_se", "HuggingFaceH4/stack-exchange-preferences"

    def read(self) -> tuple[list[Entry], list[Entry]]:
        every = [self.entry(row) for row in self.rows()]
        order = np.random.default_rng(42).permutation(len(every))
        held = int(0.01 * len(every))
        train, test = ([every[i] for i in part if every[i].comparisons] for part in (order[held:], order[:held]))
        return train, test

    def entry(self, row: dict[str, Any]) -> Entry:
        answers = self.of(row, "answers", "a list")
        responses = [" " + text(self.of(answer, "text", "a text")) for answer in answers]
        scores = [self.of(answer, "pm_score", "a number") for answer in answers]
        prompt = dialogue(text(self.of(row, "question", "a text")))
        return Entry(prompt, responses, [*scored_pairs(scores)], best_of(responses, scores))


class TLDR(Source):
    """Summaries of Reddit posts, compared by people (OpenAI)."""

    word, hub = "tldr", "openai/summarize_from_feedback"

    def read(self) -> tuple[list[Entry], list[Entry]]:
        return self.split("train"), self.split("validation")

    def split(self, name: str) -> list[Entry]:
        entries: dict[str, Entry] = {}
        for row in self.rows(name):
            info, choice = row.get("info"), row.get("choice")
            if choice is None or (isinstance(info, dict) and not info.get("post")):  # grades on axes; news
                continue
            subreddit, title, post = (self.of(info, key, "a text") for key in ("subreddit", "title", "post"))
            prompt = f"SUBREDDIT: r/{subreddit}\nTITLE: {title}\nPOST: {post}{REQUEST}"
            summaries = [self.of(each, "text", "a text") for each in self.of(row, "summaries", "a list")]
            if len(summaries) != 2 or choice not in (0, 1):
                raise self.bad(f"{self.where} has not two summaries and a choice, 0 or 1")
            entry = entries.setdefault(prompt, Entry(prompt, ending=REQUEST))
            entry.add(summaries[choice], summaries[1 - choice])
        return list(entries.values())


def scored_pairs(scores: Sequence[float]) -> list[tuple[int, int]]:
    """All pairs of different scores, the better first; those of the best first."""
    ranked = sorted(range(len(scores)), key=lambda i: -scores[i])
    return [(i, j) for i, j in combinations(ranked, 2) if scores[i] > scores[j]]


def best_of(responses: Sequence[str], scores: Sequence[float]) -> str:
    """The response of the highest score, of equals the first; "" of none."""
    return responses[scores.index(max(scores))] if scores else ""


def held_out(prompt: str) -> bool:
    """Whether a prompt is held out: decided by its text alone."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 100 < HELD_OUT_PERCENT


def dialogue(prompt: str) -> str:
    """A prompt as a turn of a dialogue."""
    return f"\n\nHuman: {prompt}\n\nAssistant:"


def text(markup: str) -> str:
    """HTML without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", markup)).strip()
