"""Language models through the one entry point: what a first update must be, killed and taken up again, exported."""

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbench import cli, config
from rlbench.algos.language.dpo import DPO
from rlbench.build import build
from rlbench.checkpoint import Checkpoints
from rlbench.conformance import same
from rlbench.run import run
from rlbench.tracking.rundir import RunDir

SMALL = ["tracking=disabled", "env.T=3", "env.V=4", "dataset.pairs=600", "dataset.sft_size=2000"]


def outcome(path: Path) -> tuple[Any, list[dict[str, Any]]]:
    state = Checkpoints(path / "ckpt", keep=2).load()
    assert state is not None
    return state["algorithm"], [
        {k: v for k, v in row.items() if not k.startswith("time")} for row in RunDir(path).rows()
    ]


def test_a_struck_run_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["algo=dpo", "steps=1280", "eval.every=640", "log.every=320", "seeds=2", *SMALL]
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "whole"))
    cfg = config.compose(words)
    assert run(cfg) == 0
    whole = outcome(config.run_directory(cfg))
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "struck"))
    train, strikes = DPO.train, iter([True, False, True])

    def struck(self: DPO, n: int) -> dict[str, torch.Tensor]:
        if self.examples > 300 and next(strikes, False):
            os.kill(os.getpid(), signal.SIGTERM)
        return train(self, n)

    monkeypatch.setattr(DPO, "train", struck)
    path = config.run_directory(cfg)
    assert [run(cfg) for _ in range(3)] == [143, 143, 0]
    state, rows = outcome(path)
    same(state, whole[0], "states")
    assert rows == whole[1]
    score = RunDir(path).score()
    assert score is not None
    assert score.metric == "eval/gap_closure"


@pytest.mark.parametrize("algo", ["dpo", "cdpo"])
def test_the_policy_begins_as_the_reference(algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """h = 0 and a loss of log 2 at the first update; afterwards margins rise."""
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path))
    algorithm, _ = build(config.compose([f"algo={algo}", "algo.learning_rate=1e-3", *SMALL]))
    first = algorithm.train(1)
    assert float(first["train/loss"]) == pytest.approx(math.log(2), abs=1e-5)
    assert float(first["train/margin"].abs()) < 1e-5
    assert algorithm.train(63)["train/loss"] is first["train/loss"]  # of the same minibatch
    assert float(algorithm.train(1200)["train/margin"]) > 0.02


def test_of_rankings_no_order_is_likelier_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss of log K! at the first update; afterwards better responses are told from worse ones."""
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path))
    ranked = ["dataset=enum_rankings", "dataset.rankings=600", "dataset.responses=4"]
    small = [word for word in SMALL if "pairs" not in word]
    for algo in ("dpo", "reward_bt"):
        algorithm, _ = build(config.compose([f"algo={algo}", "algo.learning_rate=1e-3", *small, *ranked]))
        assert float(algorithm.train(1)["train/loss"]) == pytest.approx(math.log(24), abs=0.01)
        algorithm.train(600)
        metrics = algorithm.evaluate()
        assert float(metrics["eval/margin"]) > 0.02
        assert float(metrics["eval/accuracy"]) > 0.55


def test_parts_of_a_minibatch_are_the_minibatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path))
    whole, parts = (build(config.compose(["algo=dpo", *SMALL, f"algo.micro_batch={n}"]))[0] for n in ("null", "24"))
    expected = whole.train(128)
    for name, value in parts.train(128).items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_of_transformers_is_tuned_and_exported(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", reason="needs rlbench[language]: transformers")
    from tests.language.test_hf import policy, saved, texts

    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    model = saved(tmp_path / "model")
    right = {i: ("yes", "no")[:: 1 - 2 * (i % 2)] for i in range(10)}
    rows = [{"prompt": f"is {i} even", "chosen": right[i][0], "rejected": right[i][1]} for i in [*right] * 4]
    rows = [{**row, "prompt": f"{row['prompt']} {place % 7}"} for place, row in enumerate(rows)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [
        "algo=dpo", "env=text", f"env.model={model}", f"env.dtype={dtype}",
        f"dataset=pref_file:{tmp_path / 'pairs.jsonl'}", "steps=128", "eval.every=128",
        "eval.episodes=2", "env.max_new=4", "env.max_length=16", "env.max_prompt_length=8",
        "algo.batch_size=16", "algo.learning_rate=1e-3", "algo.warmup_updates=2", "tracking=disabled",
    ]  # fmt: skip
    cfg = config.compose(words)
    assert run(cfg) == 0
    row = RunDir(config.run_directory(cfg)).rows()[-1]
    assert row["train/margin"] > 0.01
    assert cli.main(["export", config.run_id(cfg)]) == 0
    folder = config.run_directory(cfg) / "export" / "model-seed0"
    assert str(folder) in capsys.readouterr().out
    both, _ = texts()
    assert not torch.allclose(policy(folder).logp(both), policy(model).logp(both), atol=1e-3)


def test_a_missing_model_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="needs rlbench[language]: transformers")
    from rlbench.errors import RunError
    from rlbench.language.hf import load

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RunError, match=r"env=text: no model .*nowhere"):
        load(str(tmp_path / "nowhere"), "float32", "env=text")
