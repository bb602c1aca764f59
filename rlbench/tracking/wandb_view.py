"""A saved W&B workspace view of what rlbench sends: scores over training, mean and spread of a group's seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlbench.errors import RunError
from rlbench.metrics import SCORES
from rlbench.tracking.wandb import asking

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "rlbench"
COLUMNS = "summary:eval/normalized_score", "summary:eval/return", "config:algo.name", "config:env.name", "config:seed"


def save(project: str, entity: str | None) -> str:
    """Save a new view; returns its address.

    Raises:
        RunError: the package is missing, or W&B cannot be reached or refuses.
    """
    with asking():
        import wandb

        try:
            from wandb_workspaces.workspaces import Workspace  # noqa: F401
        except ImportError as error:
            raise RunError("views need a package: pip install 'rlbench[views]'") from error
        try:
            saved = view(project, entity or str(wandb.Api().default_entity)).save()  # type: ignore[no-untyped-call]
        except (wandb.Error, ValueError) as error:
            raise RunError(f"no view was saved: {str(error).partition(chr(10))[0]}") from error
        return str(saved.url)


def view(project: str, entity: str) -> Workspace:
    """Runs in their groups, with their scores in the table, as curves over steps, and as bars of the last ones."""
    from wandb_workspaces.reports.v2.interface import BarPlot, LinePlot
    from wandb_workspaces.workspaces import Metric, RunsetSettings, Section, Workspace, WorkspaceSettings

    curves = [
        LinePlot(title=name, x="step", y=[name], groupby_aggfunc="mean", groupby_rangefunc="stddev") for name in SCORES
    ]
    bars = [BarPlot(title=f"{name}, last", metrics=[name]) for name in SCORES]
    losses = LinePlot(title="training", x="step", metric_regex="train/.*loss")
    return Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            Section(name="Scores", is_open=True, panels=[*curves, *bars]),
            Section(name="Losses", panels=[losses]),
        ],
        settings=WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=RunsetSettings(groupby=[Metric("Group")], pinned_columns=list(COLUMNS)),
    )
