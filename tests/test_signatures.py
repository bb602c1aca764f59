"""Constructors are read from their source, and every file of conf/ is held to them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from rlbench import config, paths
from rlbench.choices import Choices, read
from rlbench.data import d4rl, sources
from rlbench.identity import RESERVED
from rlbench.signatures import MismatchError, Signature, arguments, coerce, describe, signature
from rlbench.types import Count, Fraction, Positive, Range
from rlbench.verbs.describe import sections

CONF = paths.conf_root()
FILES = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.yaml"))
ALGOS = Choices().options("algo")


def learner(kind: str) -> str:
    """An algorithm that solves this kind of problem and needs no data."""
    needs = {name: Choices().about("algo", name)["needs"] for name in ALGOS}
    kinds = {name: need["env"] if isinstance(need["env"], list) else [need["env"]] for name, need in needs.items()}
    return next(name for name, need in needs.items() if need["data"] == "none" and kind in kinds[name])


def words(group: str, name: str) -> list[str]:
    """What a user types to get a file of a group into a run."""
    match group:
        case "algo":
            return [f"algo={name}"]
        case "experiment" if name == "dpo_imdb":
            return config.expand([f"experiment={name}", "dataset.path=reviews.jsonl"], multirun=True)[0]
        case "experiment" if "override /algo: " in (CONF / group / f"{name}.yaml").read_text():
            return [f"experiment={name}"]
        case "base":
            return ["algo=cocoa", f"base={name}"]
        case "dynamics":
            return ["algo=mopo"]
        case "dataset" if name == "none":
            return ["algo=sac"]
        case "dataset" if name == "file":
            return ["algo=bc", "dataset=file:recording.hdf5"]
        case "dataset" if name == "vd4rl":
            return ["algo=bc", "env=dmc_walker_walk_pixels", "dataset=vd4rl:84px"]
        case "dataset" if name == "d4rl":
            return ["algo=bc", "dataset=d4rl", "dataset.id=hopper-medium-v2"]
        case "dataset" if name == "minari":
            return ["algo=bc", "dataset=minari", "dataset.id=mujoco/hopper/medium-v0"]
        case "dataset" if name == "ogbench":
            return ["algo=bc", "dataset=ogbench/cube-single-play-singletask-v0"]
        case "env" if name == "minari":
            return ["algo=bc", "dataset=minari/mujoco/hopper/medium-v0"]
        case "env" if name == "ogbench":
            return ["algo=sac", "env=ogbench/cube-single-singletask-v0"]
        case "dataset" if name == "pulls":
            return ["algo=ppp", "dataset=pulls:log.csv"]
        case "dataset" if name == "enum_rankings":
            return ["algo=dpo", "dataset=enum_rankings"]
        case "dataset" if Choices().about(group, name)["is"] == "preferences":
            path = ["dataset.path=pairs.jsonl"] if name != "enum_pairs" else []
            return ["algo=dpo", f"env={'lm_enum' if name == 'enum_pairs' else 'text_tiny'}", f"dataset={name}", *path]
        case "env" if Choices().about(group, name)["is"] == "language":
            model, data = ["env.model=gpt2"], ["dataset=pref_file:pairs.jsonl"]
            needed = {"text": [*model, *data], "text_tiny": data}
            return ["algo=dpo", f"env={name}", *needed.get(name, [])]
        case "dataset" if name == "pref_segments":
            return ["algo=cpl", "env=reacher", "dataset=pref_segments:segments.npz"]
        case "dataset" if name == "pref_exact":
            return ["algo=cpl"]
        case "env" if Choices().about(group, name)["is"] == "solved control":
            return ["algo=cpl", f"env={name}"]
        case "dataset" if name == "demand":
            return ["algo=hdpo", "dataset=demand:demand.npy"]
        case "dataset":
            env = read(CONF / group / f"{name}.yaml")["about"].get("envs", ["hopper"])[0]
            return ["algo=bc", f"dataset={name}", f"env={env}"]
        case "env":
            return [f"algo={learner(Choices().about('env', name)['is'])}", f"env={name}"]
        case "experiment" if name in ("hdpo_retail", "hdpo_one_store_retail"):
            return ["algo=hdpo", "dataset=demand:sales.npy", f"experiment={name}"]
        case "experiment":
            return ["algo=bc", *config.expand([f"experiment={name}"], multirun=True)[0]]
    return ["algo=bc", f"{group}={name}"]


def parts(node: Any) -> list[dict[str, Any]]:
    """A config's nodes that describe a class, however deep."""
    if not isinstance(node, dict):
        return []
    return [*([node] if "_target_" in node else []), *(part for each in node.values() for part in parts(each))]


@pytest.mark.parametrize("file", FILES)
def test_file_agrees_with_the_constructor(file: str) -> None:
    """Composing refuses an unknown, missing or ill-typed key; here: the file's class is really among what it composes,
    and gets every one of its parameters from the file, not from a default."""
    group, _, name = file.removesuffix(".yaml").rpartition("/")
    cfg = config.compose(words(group, name) if group else ["algo=bc"])
    own = read(CONF / file)
    if "_target_" not in own:
        return
    nodes = [node for node in parts(config.plain(cfg)) if node["_target_"] == own["_target_"]]
    assert nodes
    taken = signature(own["_target_"]).parameters
    for node in nodes:
        assert taken.keys() >= node.keys() - RESERVED - config.LABELS
        if group != "env":  # an environment may leave out what most do not have
            assert taken.keys() <= node.keys()
    if group in ("algo", "dynamics"):
        assert [key for key, parameter in taken.items() if not parameter.required] == []


@pytest.mark.parametrize("algo", ALGOS)
def test_published_settings_are_of_their_types_and_for_datasets_that_exist(algo: str) -> None:
    text = (CONF / "algo" / f"{algo}.yaml").read_text()
    named = set(re.findall(r"[{,](\w+-\w+):", text))
    choices = Choices()
    there = {f"{env}-online": "none" for env in choices.options("env")}
    for id in d4rl.manifest():
        there[f"{sources.counterpart(id)}-{sources.quality(sources.level('d4rl', id))}"] = f"d4rl/{id}"
    for dataset in choices.options("dataset"):
        level = read(CONF / "dataset" / f"{dataset}.yaml").get("level", dataset)
        there |= {f"{env}-{level}": dataset for env in choices.about("dataset", dataset).get("envs", [])}
    assert named <= there.keys()
    for choice in sorted(named):
        config.compose([f"algo={algo}", f"env={choice.partition('-')[0]}", f"dataset={there[choice]}"])


@pytest.mark.parametrize("algo", ALGOS)
def test_every_hyperparameter_is_explained_and_has_a_source(algo: str) -> None:
    (rows,) = sections([f"algo={algo}"], []).values()
    assert [row.key for row in rows if not row.meaning] == []
    assert [row.key for row in rows if not row.source] == []


@pytest.mark.parametrize("algo", ALGOS)
def test_name_is_the_files(algo: str) -> None:
    assert read(CONF / "algo" / f"{algo}.yaml")["name"] == algo


def test_reading_a_constructor_imports_nothing() -> None:
    code = "import sys; from rlbench.signatures import signature; signature('rlbench.algos.offline.iql.IQL'); "
    loaded = subprocess.run(
        [sys.executable, "-c", code + "print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "numpy", "rlbench.algos", "rlbench.algos.offline.iql"} & set(loaded)


SOURCE = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal
from rlbench.types import Fraction, Range

Mode = Literal["fast", "slow"]

@dataclass
class Inner:
    """Inside.

    Args:
        depth: how deep.
    """
    told: ClassVar[str]
    depth: int = 1

class Parent:
    """The parent.

    Args:
        task: the problem.
        mode: how fast; a colon: stays,
            and a second line too.
        share: a part.
    """
    def __init__(self, task: Task, *, mode: Mode, share: Fraction, inner: Inner, other: Unknown,
                 tight: Annotated[float, Range(0, 1, open_low=True)], sizes: list[int] | None = None) -> None: ...

class Child(Parent):
    """The child."""
    state: int | None = None

class Adding(Parent):
    """Takes what its parent takes, but for the mode, and more."""
    def __init__(self, task: Task, *, more: int, **rest: Any) -> None:
        super().__init__(task, mode="fast", **rest)

class Twice(Adding, Parent):
    """Its first base sets the mode for its second."""
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "written_in_a_test.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "written_in_a_test"


def test_signature_of_a_class_and_of_one_that_inherits(module: str) -> None:
    parent, child = signature(f"{module}.Parent"), signature(f"{module}.Child")
    assert child.title == "The child."
    assert child.parameters == parent.parameters
    kinds = {name: each.kind for name, each in parent.parameters.items()}
    assert kinds.keys() == {"mode", "share", "inner", "other", "tight", "sizes"}
    assert kinds["mode"] == Literal["fast", "slow"]
    assert kinds["share"] == Fraction
    assert isinstance(kinds["inner"], Signature)
    assert kinds["inner"].parameters.keys() == {"depth"}
    assert kinds["other"] is Any
    assert kinds["tight"] == Annotated[float, Range(0, 1, open_low=True)]
    assert kinds["sizes"] == list[int] | None
    assert parent.parameters["mode"].meaning == "how fast; a colon: stays, and a second line too."
    assert parent.parameters["share"].required
    assert not parent.parameters["sizes"].required


def test_a_constructor_with_rest_takes_what_it_hands_on(module: str) -> None:
    parent, adding = signature(f"{module}.Parent").parameters, signature(f"{module}.Adding").parameters
    assert adding.keys() == parent.keys() - {"mode"} | {"more"}
    assert all(adding[name] == parent[name] for name in parent.keys() - {"mode"})
    assert adding["more"].kind is int
    assert signature(f"{module}.Twice").parameters == adding


def test_what_is_not_there_is_said(module: str) -> None:
    with pytest.raises(LookupError, match="no class Nobody"):
        signature(f"{module}.Nobody")
    with pytest.raises(LookupError, match="no module"):
        signature("nowhere_at_all.Class")


def test_arguments_end_with_their_section() -> None:
    assert arguments("Title.\n\nArgs:\n    a: first.\n\n    b: second.\n\nReturns:\n    c: not one.\n") == {
        "a": "first.",
        "b": "second.",
    }


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        (1, float, 1.0),
        (1e6, int, 1000000),
        (1, Fraction, 1.0),
        ([1, 2.0], list[float], [1.0, 2.0]),
        (None, float | None, None),
        (3, float | None, 3.0),
        ("slow", Literal["fast", "slow"], "slow"),
        (7, str, "7"),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
    ],
)
def test_values_take_their_type(value: Any, kind: Any, result: Any) -> None:
    made = coerce(value, kind)
    assert made == result
    assert type(made) is type(result)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("abc", float), (True, int), (True, float), (1, bool), (1.5, int), (float("nan"), float), (float("inf"), int),
        (float("inf"), float), (float("-inf"), float | None), (float("inf"), Positive),
        (None, int), (1.1, Fraction), (0, Positive), (0, Count), ([1, "x"], list[int]), (1, list[int]),
        ("medium", Literal["fast", "slow"]), (1, Literal[True]), ({}, str), (True, str), ("???", str),
        ("x", int | None),
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused(value: Any, kind: Any) -> None:
    with pytest.raises(MismatchError):
        coerce(value, kind)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Fraction, "number in [0, 1]"),
        (Positive, "number > 0"),
        (Count | None, "whole number >= 1 or null"),
        (list[int], "list of whole numbers"),
        (Literal["a", "b"], "one of a, b"),
        (Annotated[float, Range(0, 1, open_high=True)], "number in [0, 1)"),
    ],
)
def test_types_in_words(kind: Any, text: str) -> None:
    assert describe(kind) == text
