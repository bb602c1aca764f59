"""Which way a metric goes."""

import re
from pathlib import Path

import pytest

import rlbench
from rlbench.envs.lm_enum import LmEnum
from rlbench.errors import UsageError
from rlbench.metrics import declared, headline, is_cost, way


@pytest.mark.parametrize(
    "name",
    ["eval/cost", "eval/cost_per_period", "eval/regret", "eval/bound_regret", "eval/optimality_gap", "train/loss",
     "train/critic_loss", "eval/model_error", "eval/rmse", "cost/holding"],
)  # fmt: skip
def test_costs_by_name(name: str) -> None:
    assert is_cost(name, {})
    assert not is_cost(name, {name: "higher"})


@pytest.mark.parametrize(
    "name",
    ["eval/normalized_score", "eval/return", "eval/success", "eval/mean_reward", "eval/length", "eval/costume",
     "eval/glossary", "eval/singapore", "time/updates_per_second"],
)  # fmt: skip
def test_all_others_are_gains(name: str) -> None:
    assert not is_cost(name, {})
    assert is_cost(name, {name: "lower"})
    assert not is_cost(name, {"eval/other": "lower"})


@pytest.mark.parametrize("name", ["eval/q_policy", "train/q", "train/v", "train/entropy", "train/direction_norm"])
def test_some_are_neither(name: str) -> None:
    assert way(name, {}) == "neither"
    assert not is_cost(name, {})
    assert [way(name, {name: each}) for each in ("lower", "higher")] == ["lower", "higher"]
    assert way("eval/return", {"eval/return": "neither"}) == "neither"
    assert way("train/q_loss", {}) == "lower"


def test_every_metric_of_the_registry_that_is_called_a_cost_is_one() -> None:
    """A name with `gap` in it may be a gain: whoever adds one decides here, and declares it where it is reported."""
    package = Path(rlbench.__file__).parent
    names = {name for file in package.rglob("*.py") for name in re.findall(r'"(eval/\w+)"', file.read_text())}
    assert {name for name in names if is_cost(name, {})} == {
        "eval/bound_regret", "eval/cost", "eval/gap", "eval/loss", "eval/regret", "eval/soft_regret",
        *(name for name in LmEnum.metric_directions if LmEnum.metric_directions[name] == "higher"),
    }  # fmt: skip
    assert not is_cost("eval/gap_closure", LmEnum.metric_directions)


def test_what_judges_a_run() -> None:
    assert headline(["train/loss", "eval/cost", "eval/return"]) == "eval/return"
    assert headline(["train/loss", "eval/cost", "eval/length"]) == "eval/cost"
    assert headline(["train/loss"]) is None


def test_later_declarations_win_and_wrong_ones_are_refused() -> None:
    assert declared({"eval/a": "lower", "eval/b": "lower"}, {"eval/b": "higher"}) == {
        "eval/a": "lower",
        "eval/b": "higher",
    }
    with pytest.raises(UsageError, match="eval/a is 'down'"):
        declared({"eval/a": "down"})  # type: ignore[dict-item]
