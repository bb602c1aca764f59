#!/usr/bin/env bash
# The runs behind this page: some twenty minutes of one CPU core. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}
ascents=vanilla_pg,nsgdm,npg_igt,harpg,nharpg

# lqr1d: 16,000 episodes of 40 steps, the exact gap every 1,000.
$rlbench -m algo=$ascents env=lqr1d steps=640000 eval.every=40000 log.every=40000 eval.episodes=1 seeds=24
$rlbench algo=vanilla_pg algo.alpha_0=0.04 env=lqr1d steps=640000 eval.every=40000 log.every=40000 eval.episodes=1 seeds=24

# chain3: 4,000 episodes of 8 steps, the exact gap every 500; and steps that are too long.
$rlbench -m algo=$ascents env=chain3 steps=32000 eval.every=4000 log.every=4000 eval.episodes=1 seeds=8
$rlbench algo=npg_igt algo.alpha_0=4 env=chain3 steps=32000 eval.every=4000 log.every=4000 eval.episodes=1 seeds=8

# CartPole: some 95 batches of 1,000 steps and the rest of an episode, HARPG and N-HARPG 77 and 74; PPO and TRPO 50,000 steps (PPO's batches: 2,048).
$rlbench -m algo=$ascents env=cartpole steps=100000 seeds=3
$rlbench -m algo=ppo,trpo env=cartpole steps=50000 seeds=3

# The table of estimators: half a minute, no runs.
python -m results.policy_gradients.estimators
