"""Continued beginnings of texts with scores of a classifier: `rlbench data sample ... --to FILE.jsonl`.

The controlled sentiment of Rafailov et al. (NeurIPS 2023): of each film review the first 2 to 8 tokens, four
continuations of them by a language model, and of each p(positive) by a classifier, by which all pairs are labelled
(`dataset=imdb_sentiment:FILE`). The rest of the review is the response to be imitated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import torch

from rlbench.data.export import refuse_taken
from rlbench.data.rows import Rows
from rlbench.errors import RunError, UsageError
from rlbench.files import take, write_atomically
from rlbench.language import hf
from rlbench.language.text import Ragged
from rlbench.rng import SeedStreams

if TYPE_CHECKING:
    from rlbench.data.store import Progress

HUB = "stanfordnlp/imdb"
SHORTEST, LONGEST = 2, 8  # tokens of a beginning


@dataclass(frozen=True)
class Asked:
    """What is to be sampled.

    Attributes:
        texts: a file, or a folder with a split called train, whose rows have a `text`; None: IMDb in the cache of
            Hugging Face.
        model: a causal language model, a folder or a name on the hub.
        classifier: a classifier of texts, likewise.
        label: of the classifier's labels, the one whose probability is the score.
        prompts: most beginnings.
        responses: continuations of each.
        max_new: most tokens of a continuation.
        batch: beginnings that are continued at a time.
        seed: of everything.
    """

    texts: str | None
    model: str
    classifier: str
    label: str
    prompts: int
    responses: int
    max_new: int
    batch: int
    seed: int


def sample(asked: Asked, to: Path, device: torch.device, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Sample continuations, score them, and write the file; it appears when it is complete.

    What is sampled lies in `.NAME.partial` beside it until then; the same call goes on with it.

    Returns:
        The rows of the file: prompt, responses, scores, sft_target.

    Raises:
        UsageError: the place is taken, by another call's rows too, or a model cannot be used for this.
        RunError: a model is not there, or the file cannot be written.
    """
    refuse_taken(to)
    model, tokenizer = hf.load(asked.model, "float32", "model")
    if LONGEST + asked.max_new > (positions := hf.positions(model)):
        raise UsageError(
            f"max_new={asked.max_new}: {asked.model} has {positions} positions, {LONGEST} for the beginning"
        )
    policy = hf.HFPolicy([model.to(device)], tokenizer)
    score = hf.probabilities(asked.classifier, asked.label, device, "classifier")
    prompts = beginnings(asked, tokenizer)
    partial = to.with_name(f".{to.name}.partial")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("a+", encoding="utf-8") as file:
            found = begun(file, partial, asked)
            for start in range(len(found), len(prompts), asked.batch):
                if progress is not None:
                    progress(f"sampling {to.name}", start, len(prompts))
                some = prompts[start : start + asked.batch]
                # A stream of its own for each batch: the samples do not depend on where sampling was interrupted.
                rng = SeedStreams([asked.seed], f"responses {start}", device)
                responses = continuations(policy, [prompt for prompt, _ in some], asked, rng)
                repeated = [prompt for prompt, _ in some for _ in range(asked.responses)]
                scores = score([prompt + response for prompt, response in zip(repeated, responses, strict=True)])
                parts = zip(some, *(grouped(each, asked.responses) for each in (responses, scores)), strict=True)
                made = [
                    {"prompt": prompt, "responses": several, "scores": theirs, "sft_target": rest}
                    for (prompt, rest), several, theirs in parts
                ]
                file.writelines(json.dumps(row) + "\n" for row in made)
                file.flush()
                found += made
        write_atomically(to, "".join(json.dumps(row) + "\n" for row in found))
        partial.unlink()
    except OSError as error:
        raise RunError(f"cannot write {to}: {error.strerror or error}; what is sampled stays in {partial}") from error
    return found


def grouped(values: list[Any], size: int) -> list[list[Any]]:
    """Values in lists of so many."""
    return [values[i : i + size] for i in range(0, len(values), size)]


def beginnings(asked: Asked, tokenizer: Any) -> list[tuple[str, str]]:
    """The first tokens of texts, drawn at random, as texts, and what follows on them.

    Raises:
        UsageError: there are no texts.
    """
    every = texts(asked.texts)
    rng = np.random.default_rng(asked.seed)
    drawn = [every[i] for i in rng.permutation(len(every))]
    lengths = rng.integers(SHORTEST, LONGEST + 1, len(drawn))
    cut = {"truncation": True, "max_length": LONGEST + 1}
    places = tokenizer(drawn, add_special_tokens=False, return_offsets_mapping=True, **cut)["offset_mapping"]
    found = [
        (text[: ends[length - 1][1]], text[ends[length - 1][1] :])
        for text, ends, length in zip(drawn, places, lengths, strict=True)
        if len(ends) > LONGEST
    ]
    if not found:
        raise UsageError(f"texts: all are shorter than {LONGEST + 1} tokens of model={asked.model}")
    return found[: asked.prompts]


def texts(path: str | None) -> list[str]:
    """The column `text` of a file, or of the files of a folder's split called train.

    Raises:
        UsageError: there are none.
    """
    source = Rows("texts", path or None, HUB, "texts=FILE")
    rows = source.rows(None if source.path.is_file() else "train")
    found = [source.of(row, "text", "a text") for row in rows]
    if not found:
        raise source.bad("has no rows")
    return found


def continuations(policy: hf.HFPolicy, prompts: Sequence[str], asked: Asked, rng: SeedStreams) -> list[str]:
    """Samples for each prompt, those of the first before those of the second."""
    tokens = policy.tokenizer([prompt for prompt in prompts for _ in range(asked.responses)], add_special_tokens=False)
    given = tokens["input_ids"]
    places = torch.arange(len(given))[None]
    text = policy.generate(Ragged(given, [[]] * len(given), rng.device).take(places), 1.0, asked.max_new, rng)
    written = []
    for before, row, mask in zip(given, text.response[0].tolist(), text.response_mask[0].tolist(), strict=True):
        after = [token for token, there in zip(row, mask, strict=True) if there]
        # Decoded behind its prompt: alone, a response would lose its first blank with many a tokenizer.
        whole = policy.tokenizer.decode([*before, *after], skip_special_tokens=True)
        written.append(whole[len(policy.tokenizer.decode(before)) :])
    return written


def begun(file: TextIO, partial: Path, asked: Asked) -> list[dict[str, Any]]:
    """The rows that an earlier call left, in whole batches; of a first call, none. The file is this call's alone now.

    Raises:
        UsageError: they are another call's, or one that still works.
    """
    take(file, f"{partial}: another process is sampling into it\nname another place with --to")
    file.seek(0)
    header, _, rest = file.read().partition("\n")
    ours = json.dumps(asdict(asked))
    if not header:
        file.write(ours + "\n")
    elif header != ours:
        raise UsageError(f"{partial} holds what other words sampled\nremove it, or name another place with --to")
    whole = rest.split("\n")[:-1]  # behind the last line end there is nothing, or what a writer left that was killed
    whole = whole[: len(whole) // asked.batch * asked.batch]
    file.truncate(sum(len(line) + 1 for line in [ours, *whole]))  # JSON as we write it is ASCII
    return [json.loads(line) for line in whole]
