"""MuJoCo's humanoid with actions in [-1, 1], as policies here act; its own are in [-0.4, 0.4]."""

import gymnasium
from gymnasium.wrappers import RescaleAction

ORIGINAL = gymnasium.spec("Humanoid-v4")

gymnasium.register(
    "UnitHumanoid-v4",
    entry_point=ORIGINAL.entry_point,
    max_episode_steps=ORIGINAL.max_episode_steps,
    additional_wrappers=(RescaleAction.wrapper_spec(min_action=-1.0, max_action=1.0),),
)
