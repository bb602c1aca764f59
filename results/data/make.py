"""Writes this folder's table from the runs of `run.sh`."""

import json
import os
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

HERE = Path(__file__).parent
STEPS = 5000
LEVELS = ["random", "medium", "medium_replay", "medium_expert", "expert", "mixed"]


def main() -> None:
    rows = {}
    for status in (Path(os.environ.get("RLBENCH_RESULTS", "results")) / "runs/bc").glob("*/*/status.json"):
        folder = status.parent
        config = OmegaConf.load(folder / "config.yaml")
        state = json.loads(status.read_text())
        if state["state"] != "finished" or config.steps != STEPS or config.dataset.level not in LEVELS:
            continue
        scores = np.array(list(state["score"]["values"].values()))
        data = json.loads((folder / "meta.json").read_text())["dataset"]
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
    page = HERE / "README.md"
    before, rest = page.read_text().split("<!-- table -->\n")
    after = rest.split("<!-- end -->\n", 1)[1]
    page.write_text(f"{before}<!-- table -->\n" + "\n".join(lines) + f"\n<!-- end -->\n{after}")


if __name__ == "__main__":
    main()
