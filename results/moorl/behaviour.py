"""Makes the behaviour policies of `env=pendulum`: `python results/moorl/behaviour.py FOLDER`.

SAC is trained for 6,000 steps. `medium` is an analogue of its whole replay, 6 parts (1,000 steps with random actions,
then an episode of a snapshot for every 200 steps), and episodes of the snapshot that returns about -700, 10 parts.
`expert` is the best snapshot of the former. Snapshots that lie in FOLDER/snapshots are not made again; the policies and
their manifest are written to FOLDER/policies.
"""

import json
import sys
from pathlib import Path
from typing import Any

from rlbench import config, cpu
from rlbench import make_behaviour as making
from rlbench.data.behaviour import RANDOM
from rlbench.verbs.data import as_dict

STEPS, EPISODE, EVERY, START = 6000, 200, 50, 1000
OWN = 10_000
WANTED = -700.0
NEAREST = 5  # which of these is nearest, more episodes tell
SAC = [
    "algo=sac", "env=pendulum", f"steps={STEPS}", "seed=0", "algo.hidden_dims=[64,64]", "algo.batch_size=128",
    f"algo.start_steps={START}", "algo.actor_learning_rate=1e-3", "algo.critic_learning_rate=1e-3",
    "algo.alpha_learning_rate=1e-3",
]  # fmt: skip
NOTES = {
    "medium": "an analogue of SAC's replay of 6,000 steps (6 parts), and the policy that returns about -700 (10)",
    "snapshots": "of those near medium, and of those that medium's replay is made of",
}


def main(folder: Path) -> None:
    cpu.settle(1)
    cfg = config.compose(SAC)
    env, sac = config.instantiate(cfg.env), as_dict(cfg.algo)
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        making.train(env, sac, STEPS, cfg.seed, EVERY, snapshots, print)
    screened = making.screen(env, snapshots, print)
    near = sorted(screened, key=lambda s: abs(s.sampled - env.score(WANTED)))[:NEAREST]
    returns = {s.step: making.measured(env, s.path, s.step)["return"]["mean"] for s in near}
    medium = min(returns, key=lambda step: abs(returns[step] - WANTED))
    played = [s for s in screened if s.step > START and s.step % EPISODE == 0]
    expert = max(played, key=lambda s: s.sampled).step
    rows = {RANDOM: START, **{str(s.step): EPISODE for s in played}}
    rows[str(medium)] = rows.get(str(medium), 0) + OWN
    shares = {name: count / (STEPS + OWN) for name, count in rows.items()}
    kept = [s for s in screened if s in near or s in played]
    to = folder / "policies"
    manifest: dict[str, Any] = {
        "env": env.name,
        "id": env.id,
        "training": {
            "command": "python results/moorl/behaviour.py FOLDER",
            "steps": STEPS,
            "seed": cfg.seed,
            "every": EVERY,
            "algo": {key: value for key, value in sac.items() if key not in ("about", "budget")},
            "versions": making.versions(),
        },
        "levels": {"medium": shares, "expert": [str(expert)]},
        "notes": NOTES,
        "policies": making.write(env, snapshots, to, sorted({*(s.step for s in played), medium})),
        "snapshots": [{"step": s.step, "sampled": round(s.sampled, 2), "mode": round(s.mode, 2)} for s in kept],
    }
    (to / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
