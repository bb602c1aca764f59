#!/usr/bin/env bash
# The runs behind this folder's tables and figures: some five minutes of one CPU core. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}
ascents=vanilla_pg,nsgdm,npg_igt,harpg,nharpg

# lqr1d: 4,000 episodes of 40 steps, the exact gap every 500; and N-PG-IGT for 16,000, with more seeds.
$rlbench -m algo=$ascents env=lqr1d steps=160000 eval.every=20000 log.every=20000 eval.episodes=1 seeds=8
$rlbench algo=npg_igt env=lqr1d steps=640000 eval.every=40000 log.every=40000 seeds=24

# chain3: 4,000 episodes of 8 steps, the exact gap every 500; and steps that are too long.
$rlbench -m algo=$ascents env=chain3 steps=32000 eval.every=4000 log.every=4000 eval.episodes=1 seeds=8
$rlbench algo=npg_igt algo.alpha_0=4 env=chain3 steps=32000 eval.every=4000 log.every=4000 eval.episodes=1 seeds=8

# CartPole: 50,000 steps, in batches of 1,000 (PPO: 2,048).
$rlbench -m algo=vanilla_pg,npg_igt,harpg,nharpg,trpo,ppo env=cartpole steps=50000 seeds=3
