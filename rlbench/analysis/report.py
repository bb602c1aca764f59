"""A comparison as one HTML file that opens anywhere, without a network: verdicts, tables, figures, provenance."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

import rlbench
from rlbench.analysis import arms, figures
from rlbench.analysis.compare import Comparison, number
from rlbench.errors import RunError, UsageError
from rlbench.tracking.rundir import RunDir

FIGURES = {
    "curves": "Learning curves: mean over seeds",
    "efficiency": "Sample efficiency: interquartile mean over tasks and seeds",
    "bars": "Scores at the end: interval, and every seed as a tick",
    "profile": "Performance profile: how many seeds score better than a threshold",
    "improvement": "Probability that a seed of one beats a seed of the other",
}
MANY_PANELS = 24  # tasks up to which each has a curve of its own in the page


def render(comparison: Comparison, command: Sequence[str], seed: int = 0) -> str:
    """The page.

    Args:
        comparison: what it shows.
        command: the words that made it, printed at its foot.
        seed: of the bootstrap.
    """
    runs = comparison.runs.to_dicts()
    metas = [meta(Path(run["path"])) for run in runs]
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = lambda value, digits=2: "" if value is None else number(value, digits)
    template = environment.from_string(resources.files(rlbench).joinpath("analysis/report.html.j2").read_text())
    return template.render(
        comparison=comparison,
        figures=drawn(comparison, seed),
        settings=settings(comparison, runs),
        provenance=provenance(runs, metas),
        runs=[listed(run, comparison) for run in runs],
        command=" ".join(command),
        version=rlbench.__version__,
        made=time.strftime("%Y-%m-%d %H:%M %Z"),
    )


def drawn(comparison: Comparison, seed: int) -> list[dict[str, Any]]:
    """The figures that this comparison allows, as inline SVG."""
    found = []
    for kind, title in FIGURES.items():
        if kind == "curves" and len(comparison.tasks) > MANY_PANELS:
            continue
        try:
            with figures.styled():
                figure = figures.KINDS[kind](comparison, seed)
        except UsageError:  # this comparison has no such figure: one algorithm, or no task in common
            continue
        svg = figures.encoded(figure, "svg").decode()
        found.append({"kind": kind, "title": title, "svg": svg[svg.index("<svg") :]})
    return found


def settings(comparison: Comparison, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every key of the configuration whose value is not the same in all runs, by arm."""
    keys = arms.varying(runs, [key for key in arms.columns(runs) if key.partition(".")[0] in ("algo", "steps", "eval")])
    by_arm: dict[str, dict[str, set[str]]] = {arm: {key: set() for key in keys} for arm in comparison.arms}
    for run in runs:
        for key in keys:
            if run[key] is not None:
                by_arm[comparison.where[run["run"]].arm][key].add(str(run[key]))
    rows = {key: [", ".join(sorted(by_arm[arm][key])) for arm in comparison.arms] for key in sorted(keys)}
    return {"arms": comparison.arms, "rows": rows}


def provenance(runs: Sequence[dict[str, Any]], metas: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """What the results depend on beside their settings: each fact with all the values that the runs have.

    A run that was resumed has the code, the machine and the versions of all its lives.
    """
    facts: dict[str, set[str]] = {}
    for run, about in zip(runs, metas, strict=True):
        for life in (about, *about.get("resumed", ())):
            machine = life.get("machine", {})
            for name, value in {
                "data": data_of(about),
                "simulator": run["simulator"],
                "code": code_of(life),
                "machine": machine and f"{machine.get('host')}: {machine.get('cpu')}, {machine.get('cores')} cores",
                "device": run["device"],
                **life.get("versions", {}),
            }.items():
                if value:
                    facts.setdefault(name, set()).add(str(value))
    return {name: sorted(values) for name, values in facts.items()}


def data_of(about: dict[str, Any]) -> str | None:
    dataset = about.get("dataset")
    return dataset and f"{dataset.get('id')}, fingerprint {str(dataset.get('fingerprint'))[:16]}"


def code_of(about: dict[str, Any]) -> str | None:
    git = about.get("git")
    if not git:
        return None
    return f"commit {git.get('commit', '?')[:12]}" + (" with changes" if "diff_sha256" in git else "")


def meta(path: Path) -> dict[str, Any]:
    """A run's `meta.json`, empty where it went while the page was made."""
    try:
        return RunDir(path).meta()
    except RunError:
        return {}


def listed(run: dict[str, Any], comparison: Comparison) -> dict[str, Any]:
    """A run's line in the list of all runs."""
    place = comparison.where[run["run"]]
    seeds = run["seeds"]
    return {
        "id": run["id"],
        "arm": place.arm,
        "task": place.task,
        "seeds": str(run["seed"]) if seeds == 1 else f"{run['seed']} to {run['seed'] + seeds - 1}",
        "steps": run["steps"],
        "minutes": run["seconds"] / 60,
        "score": run["score"],
    }
