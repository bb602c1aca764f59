#!/usr/bin/env bash
# The runs behind this folder's tables and figures: some two hours of one CPU core. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

$rlbench -m experiment=moorl_pendulum
# The rewards as they are, and one less.
$rlbench -m experiment=moorl_pointmaze algo=sac,moorl,sacfd,rlpd,hyq,calql algo.reward_shift=0
$rlbench -m experiment=moorl_pointmaze

# With SAC's own sizes.
$rlbench -m algo=moorl,sacfd env=pendulum dataset=medium steps=12000 eval.every=500 seed="range(3)"
$rlbench -m algo=sac env=pendulum algo.start_steps=1000 steps=12000 eval.every=500 seed="range(3)"
$rlbench -m algo=moorl env=pointmaze2d_sparse dataset=detours algo.reward_shift=0,-1 steps=20000 eval.every=1000 \
  eval.episodes=50 seed="range(3)"

python results/moorl/detours.py "${RLBENCH_RESULTS:-results}"/runs/*/pointmaze2d_sparse-*/*
