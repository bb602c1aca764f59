#!/usr/bin/env bash
# The runs behind this folder's tables and figures: some two and a half hours of one CPU core. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

$rlbench -m experiment=moorl_pendulum
$rlbench -m experiment=moorl_pointmaze
# With SAC's targets and discount: the rewards as they are, and one less.
maze=(experiment=moorl_pointmaze algo.gamma=0.99 algo.critic_learning_rate=1e-3)
for less in 0 -1; do
  $rlbench -m "${maze[@]}" algo=sac,moorl,sacfd,rlpd algo.entropy_in_target=true "algo.reward_shift=$less"
  $rlbench -m "${maze[@]}" algo=hyq,calql "algo.reward_shift=$less"
done
$rlbench -m "${maze[@]}" algo=iql algo.reward_shift=-1

# With SAC's own sizes.
$rlbench algo=moorl env=pendulum dataset=medium steps=12000 eval.every=500 seeds=3 compile=on
$rlbench algo=sac env=pendulum algo.start_steps=1000 steps=12000 eval.every=500 seeds=3 compile=on

python results/moorl/detours.py "${RLBENCH_RESULTS:-results}"/runs/*/pointmaze2d_sparse-*/*
