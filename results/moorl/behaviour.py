"""Makes the behaviour policies of `env=pendulum`: `python results/moorl/behaviour.py FOLDER`.

SAC is trained for 7,000 steps. `medium` is what its replay holds up to the snapshot that returns about -700, 6 parts
(the first 1,000 steps with random actions, then a snapshot every 200 steps), and the snapshot's own episodes, 10 parts.
`expert` is the best snapshot. Snapshots that lie in FOLDER/snapshots are not made again; the policies and their
manifest are written to FOLDER/policies.
"""

import json
import sys
from pathlib import Path
from typing import Any

from rlbench import config, cpu
from rlbench import make_behaviour as making
from rlbench.data.behaviour import RANDOM
from rlbench.verbs.data import as_dict

STEPS, EVERY, START = 7000, 200, 1000
WANTED = -700.0
SAC = [
    "algo=sac", "env=pendulum", f"steps={STEPS}", "seed=0", "algo.hidden_dims=[64,64]", "algo.batch_size=128",
    f"algo.start_steps={START}", "algo.actor_learning_rate=1e-3", "algo.critic_learning_rate=1e-3",
    "algo.alpha_learning_rate=1e-3",
]  # fmt: skip
NOTES = {
    "medium": "an analogue of SAC's replay up to a return of about -700 (6 parts), and the policy that returns it (10)"
}


def main(folder: Path) -> None:
    cpu.settle(1)
    cfg = config.compose(SAC)
    env, sac = config.instantiate(cfg.env), as_dict(cfg.algo)
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        making.train(env, sac, STEPS, cfg.seed, EVERY, snapshots, print)
    screened = making.screen(env, snapshots, print)
    medium = min(screened, key=lambda s: abs(s.sampled - env.score(WANTED))).step
    expert = max(screened, key=lambda s: s.sampled).step
    earlier = [s.step for s in screened if START < s.step < medium]
    replay = 6 / 16
    random = replay * START / medium
    shares = {RANDOM: random, **{str(step): (replay - random) / (len(earlier) + 1) for step in [*earlier, medium]}}
    shares[str(medium)] += 10 / 16
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
        "policies": making.write(env, snapshots, to, [*earlier, medium, expert]),
        "snapshots": [{"step": s.step, "sampled": round(s.sampled, 2), "mode": round(s.mode, 2)} for s in screened],
    }
    (to / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
