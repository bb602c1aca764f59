#!/usr/bin/env bash
# The runs behind this folder's tables and figures: some two hours of one CPU core. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

$rlbench -m experiment=moorl_pendulum
# The rewards as they are, and one less.
$rlbench -m experiment=moorl_pointmaze algo=sac,moorl,sacfd,rlpd,hyq,calql algo.reward_shift=0
$rlbench -m experiment=moorl_pointmaze algo=sac,moorl,sacfd,rlpd,hyq,bc,iql

# With SAC's own sizes.
$rlbench algo=moorl env=pendulum dataset=medium steps=12000 eval.every=500 seeds=3 compile=on
$rlbench algo=sac env=pendulum algo.start_steps=1000 steps=12000 eval.every=500 seeds=3 compile=on

python results/moorl/detours.py "${RLBENCH_RESULTS:-results}"/runs/*/pointmaze2d_sparse-*/*
