"""A short campaign of faults; results/campaign.md has the long ones."""

from pathlib import Path

import pytest

from tests.launch.campaign import Campaign
from tests.launch.practice import Practice


@pytest.mark.slurm
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cluster", ["plain"], indirect=True)
def test_no_fault_loses_doubles_or_damages_a_run(
    cluster: Practice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    outcome = Campaign(cluster, seed=0, snails=8, clones=3, steps=100, pause=1, say=print).run(faults=25)
    assert outcome.sound, outcome
    assert outcome.faults.total() >= 15, "the runs were over too early"
    assert outcome.lives > outcome.runs
