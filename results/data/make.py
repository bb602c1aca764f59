"""Writes this folder's table from the runs of `run.sh`."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from results.tables import write

HERE = Path(__file__).parent
STEPS = 5000
LEVELS = ["random", "medium", "medium_replay", "medium_expert", "expert", "mixed"]


def main() -> None:
    rows: dict[tuple[str, int], dict[Any, Any]] = {}
    files: dict[str, tuple[Any, dict[str, Any], str, str]] = {}
    for status in (Path(os.environ.get("RLBENCH_RESULTS", "results")) / "runs/bc").glob("*/*/status.json"):
        folder = status.parent
        config = OmegaConf.load(folder / "config.yaml")
        state = json.loads(status.read_text())
        if state["state"] != "finished" or config.steps != STEPS or config.dataset.level not in [*LEVELS, "file"]:
            continue
        scores = np.array(list(state["score"]["values"].values()))
        meta = json.loads((folder / "meta.json").read_text())
        data = meta["dataset"]
        if config.dataset.level == "file":
            files[data["id"]] = (config, data, meta["simulator"], f"{scores.mean():.1f} ± {scores.std(ddof=1):.1f}")
            continue
        row = rows.setdefault((config.env.name, LEVELS.index(config.dataset.level)), {"data": data, "env": config.env})
        row[config.algo.best_fraction] = f"{scores.mean():.1f} ± {scores.std(ddof=1):.1f}"
    lines = [
        "| env | dataset | rows | episodes | return | length | score of the data | BC | best 20 % BC |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (env, level), row in sorted(rows.items()):
        data, low, high = row["data"], row["env"].reference_min, row["env"].reference_max
        returns, score = data["return"], 100 * (data["return"]["mean"] - low) / (high - low)
        lines.append(
            f"| {env} | {LEVELS[level]} | {data['rows']:,} | {data['episodes']:,} | {returns['mean']:,.0f} ± "
            f"{returns['std']:,.0f} | {data['length']['mean']:,.0f} | {score:.1f} | {row.get(1.0, 'not run')} | "
            f"{row.get(0.2, 'not run')} |"
        )
    write(HERE, {"table": lines})
    lines = [
        "| env | file | rows | episodes | return | score of the data | BC | judged in |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (config, data, simulator, score) in sorted(files.items()):
        returns, low, high = data["return"], config.env.reference_min, config.env.reference_max
        lines.append(
            f"| {config.env.name} | {name.removeprefix('file:')} | {data['rows']:,} | {data['episodes']:,} | "
            f"{returns['mean']:,.0f} ± {returns['std']:,.0f} | {100 * (returns['mean'] - low) / (high - low):.1f} | "
            f"{score} | {simulator} |"
        )
    write(HERE, {"files": lines})


if __name__ == "__main__":
    main()
