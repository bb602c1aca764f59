"""Experiments that are sweeps: the table of a paper is what its authors ran."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from rlbench import cli, config
from rlbench.choices import Choices
from rlbench.errors import UsageError

TASKS = "halfcheetah", "hopper", "walker2d"
LEVELS = "random", "medium", "medium-replay", "medium-expert"
LEARNING_RATES = {"actor_learning_rate": 1e-4, "critic_learning_rate": 3e-4}

# runamu/compositional-conservatism and yihaosun1124/OfflineRL-Kit, as each algorithm's file says.
PUBLISHED: dict[str, dict[str, Any]] = {
    "bc": {"steps": 1_000_000, "hidden_dims": [256, 256]},
    "cql": {"steps": 1_000_000, "hidden_dims": [256] * 3, "cql_weight": 5.0, "cql_lse": 3, **LEARNING_RATES},
    "iql": {
        "steps": 1_000_000, "hidden_dims": [256, 256], "expectile": 0.7, "temperature": 3.0, "normalize_rewards": True,
        **dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "value_learning_rate"), 3e-4),
    },
    "mopo": {"steps": 3_000_000, "hidden_dims": [256, 256], "real_fraction": 0.05, **LEARNING_RATES},
    "mobile": {"steps": 3_000_000, "hidden_dims": [256, 256], "real_fraction": 0.05, **LEARNING_RATES},
}  # fmt: skip
# Penalty and length of the rollouts; for MOPO on random data nothing is published.
ROLLOUTS = {
    "mopo": {
        "medium": {"halfcheetah": (0.5, 5), "hopper": (5.0, 5), "walker2d": (0.5, 5)},
        "medium-replay": {"halfcheetah": (0.5, 5), "hopper": (2.5, 5), "walker2d": (2.5, 1)},
        "medium-expert": {"halfcheetah": (2.5, 5), "hopper": (5.0, 5), "walker2d": (2.5, 1)},
    },
    "mobile": {
        "random": {"halfcheetah": (0.5, 5), "hopper": (5.0, 5), "walker2d": (2.0, 5)},
        "medium": {"halfcheetah": (0.5, 5), "hopper": (1.5, 5), "walker2d": (0.5, 5)},
        "medium-replay": {"halfcheetah": (0.1, 5), "hopper": (0.1, 5), "walker2d": (0.5, 1)},
        "medium-expert": {"halfcheetah": (2.0, 5), "hopper": (1.5, 5), "walker2d": (1.5, 1)},
    },
}
SMALL = {"hidden_dims": [100, 100], "embedding_dims": [64, 64], "embedding_width": 4}
LARGE = {"hidden_dims": [256] * 3, "embedding_dims": [256] * 3, "embedding_width": 32}
COCOA = {"cql": LARGE, "iql": SMALL, "mopo": SMALL, "mobile": SMALL}


def cells(*words: str, config_dirs: list[Path] | None = None) -> list[list[str]]:
    return config.expand(words, True, config_dirs or [])


@pytest.fixture(scope="module")
def table() -> dict[tuple[str, str | None, str, str], dict[str, Any]]:
    """The runs of COCOA's table for one seed, by algorithm, base, task and level."""
    found = {}
    for words, content in config.compose_sweep(cells("experiment=cocoa_d4rl", "seed=0")):
        base = content["algo"].get("base", {}).get("name")
        _, _, dataset = next(word for word in words if word.startswith("dataset=")).partition("/")
        task, _, level = dataset.removesuffix("-v2").partition("-")
        assert content["env"]["name"] == task
        found[content["algo"]["name"], base, task, level] = content
    return found


def test_the_table_has_every_cell(table: dict[tuple[str, str | None, str, str], dict[str, Any]]) -> None:
    everywhere = [(task, level) for task in TASKS for level in LEVELS]
    rows: list[tuple[str, str | None]] = [("bc", None)]
    for base in ("cql", "iql", "mopo", "mobile"):
        rows += [(base, None), ("cocoa", base)]
    published = {(*row, *place) for row in rows for place in everywhere if "iql" not in row or place[1] != "random"}
    assert table.keys() == published
    seeds = Counter(word for cell in cells("experiment=cocoa_d4rl") for word in cell if word.startswith("seed="))
    assert seeds == {f"seed={seed}": len(published) for seed in range(4)}


def test_the_table_is_run_as_published(table: dict[tuple[str, str | None, str, str], dict[str, Any]]) -> None:
    wrong = []
    for (algo, base, task, level), content in table.items():
        learner = content["algo"]["base"] if base else content["algo"]
        expected = {f"learner.{key}": value for key, value in PUBLISHED[base or algo].items() if key != "steps"}
        expected["steps"] = PUBLISHED[base or algo]["steps"]
        if (base or algo) in ROLLOUTS and level in ROLLOUTS[base or algo]:
            penalty, length = ROLLOUTS[base or algo][level][task]
            expected |= {"learner.penalty": penalty, "learner.rollout_length": length}
        if (base or algo) == "mobile":
            expected["learner.alpha"] = 0.2 if (task, level) == ("hopper", "medium") else None
        if base:
            sizes = COCOA[base]
            expected["learner.hidden_dims"] = sizes["hidden_dims"]
            expected |= {f"algo.{key}": sizes[key] for key in ("embedding_dims", "embedding_width")}
            expected |= {"algo.horizon": 1, "algo.imagination_length": 5, "algo.imagination_scale": 0.8}
        expected |= {"eval.every": 1000, "eval.episodes": 10, "dataset.timeout_rows": "drop", "seeds": 1}
        found = OmegaConf.create({**content, "learner": learner})
        for key, value in expected.items():
            if (here := OmegaConf.select(found, key)) != value:
                wrong.append((algo, base, task, level, key, value, here))
    assert wrong == []


def test_a_choice_narrows_and_a_value_is_laid_over() -> None:
    found = cells("experiment=cocoa_d4rl", "+base=iql", "seed=7", "steps=10", "hardware=slurm_gpu")
    assert len(found) == 9
    assert all({"algo=cocoa", "base=iql", "seed=7", "steps=10", "hardware=slurm_gpu"} <= set(cell) for cell in found)
    assert all("seed=0" not in cell for cell in found)
    assert len(cells("experiment=cocoa_d4rl", "algo=cocoa,iql", "dataset=glob(*/hopper-medium-*)")) == 4 * 5 * 3
    assert len(cells("experiment=cocoa_d4rl", "seed=range(10)")) == 102 * 10
    assert cells("experiment=hopper_short", "algo=bc,iql") == [
        ["experiment=hopper_short", "algo=bc"],
        ["experiment=hopper_short", "algo=iql"],
    ]


def test_two_experiments_are_run_one_after_the_other() -> None:
    both = cells("experiment=hopper_embedded,cocoa_d4rl", "seed=0")
    assert both == cells("experiment=hopper_embedded", "seed=0") + cells("experiment=cocoa_d4rl", "seed=0")


@pytest.mark.parametrize(
    ("words", "multirun", "parts"),
    [
        (["experiment=cocoa_d4rl"], False, ["experiment=cocoa_d4rl is a sweep of 408 runs", "add -m"]),
        (["experiment=cocoa_d4rl", "base=iql", "seed=0"], False, ["is a sweep of 9 runs"]),
        (["experiment=cocoa_d4rl", "base=iql", "seed=0", "dataset=d4rl/hopper-medium-v2"], False, ["sweep of 1 run\n"]),
        (["experiment=cocoa_d4rl", "dataset=medium"], True, ["it has dataset=d4rl/halfcheetah-random-v2,"]),
        (["experiment=cocoa_d4rl", "algo=bc", "base=iql"], True, ["it has algo=bc,cql,", "base=cql,iql,mopo,mobile"]),
        (["experiment=cocoa_d4r"], True, ["did you mean experiment=cocoa_d4rl?"]),
    ],
)
def test_what_an_experiment_does_not_have(words: list[str], multirun: bool, parts: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        config.expand(words, multirun)
    assert [part for part in parts if part not in str(error.value)] == []


def test_the_list_counts_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "experiment", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["experiment"]
    assert {name: about["runs"] for name, about in listed.items()} == {
        "cocoa_d4rl": 408,
        "cpl_metaworld": 330,
        "cpl_metaworld_pixels": 264,
        "cpl_pendulum": 8,
        "cpl_pixels": 3,
        "cpl_reacher": 7,
        "cpl_reacher_short": 6,
        "dpo_hh": 1,
        "dpo_imdb": 23,
        "dpo_tldr": 1,
        "hdpo_full": 528,
        "hdpo_networks_full": 534,
        "hdpo_one_store_retail": 72,
        "hdpo_retail": 30,
        "hopper_embedded": 24,
        "hopper_short": 1,
        "moorl_d4rl": 890,
        "moorl_pendulum": 9,
        "moorl_pixels": 2,
        "moorl_pointmaze": 10,
        "moorl_vd4rl": 150,
        "npg_mujoco": 1620,
        "recovering_bandit_full": 1,
        "stax_full": 675,
    }


@pytest.mark.parametrize("sweep", ["algo=bc", "[algo=bc]", "{algo: bc}"])
def test_a_sweep_is_a_list_of_lists(tmp_path: Path, sweep: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\nsweep: {sweep}\n")
    with pytest.raises(UsageError, match=r"mine\.yaml: sweep: is to be a list of lists"):
        cells("experiment=mine", config_dirs=[tmp_path])


@pytest.mark.parametrize("name", Choices().options("experiment"))
def test_every_experiment_can_be_run(name: str) -> None:
    own = {"dpo_imdb": "reviews.jsonl", "hdpo_retail": "sales.npy", "hdpo_one_store_retail": "sales.npy"}
    of_your_own = [f"dataset.path={own[name]}"] if name in own else []
    kinds = {tuple(cell[:3]): cell for cell in cells(f"experiment={name}", "seed=0", *of_your_own)}
    chooses = "override /algo" in Choices().files["experiment"][name].read_text()
    for cell in kinds.values():
        algorithm = [] if chooses or any(word.startswith("algo=") for word in cell) else ["algo=bc"]
        assert config.compose([*cell, *algorithm]).steps > 0
