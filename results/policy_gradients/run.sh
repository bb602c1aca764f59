#!/usr/bin/env bash
# The runs behind this folder's tables and figures: some twenty minutes of one CPU core. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

# lqr1d: 16,000 episodes of 40 steps, the exact gap every 1,000.
$rlbench -m algo=vanilla_pg,nsgdm,npg_igt,harpg,nharpg env=lqr1d steps=640000 eval.every=40000 log.every=40000 seeds=24
$rlbench -m algo=vanilla_pg algo.alpha_0=0.1,0.3 env=lqr1d steps=640000 eval.every=40000 log.every=40000 seeds=24

# chain3: 16,000 episodes of 8 steps.
$rlbench -m algo=vanilla_pg,nsgdm,npg_igt,harpg,nharpg env=chain3 steps=128000 eval.every=8000 log.every=8000 seeds=24
$rlbench -m algo=npg_igt algo.alpha_0=4 env=chain3 steps=128000 eval.every=8000 log.every=8000 seeds=24

# CartPole and Acrobot: 100 batches of 1,000 steps, or as many steps in batches of other sizes.
$rlbench -m algo=vanilla_pg,nsgdm,npg_igt,harpg,nharpg,ppo,trpo env=cartpole seeds=3
