#!/usr/bin/env bash
# The runs behind this folder's tables: behaviour cloning on every embedded data set, of all episodes and of the best
# fifth. About half an hour on one CPU core; finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

for env in hopper halfcheetah walker2d; do
  $rlbench -m algo=bc "env=$env" dataset=random,medium,medium_replay,medium_expert,expert,mixed \
    algo.best_fraction=1.0,0.2 seeds=4 steps=5000 eval.every=5000 eval.episodes=20
done

# Real files of others, where DATA names a folder that has them (results/data/README.md says where they come from).
if [ -n "${DATA:-}" ]; then
  $rlbench algo=bc env=door "dataset=file:$DATA/adroit-door-human/door-human.hdf5" dataset.clip_actions=true \
    seeds=4 steps=5000 eval.every=5000 eval.episodes=20
  $rlbench algo=bc env=hopper "dataset=file:$DATA/mujoco-experts/Hopper-v4.hdf5" dataset.clip_actions=true \
    seeds=4 steps=5000 eval.every=5000 eval.episodes=20
  $rlbench algo=bc env=halfcheetah "dataset=file:$DATA/mujoco-experts/HalfCheetah-v4.hdf5" dataset.clip_actions=true \
    seeds=4 steps=5000 eval.every=5000 eval.episodes=20
fi
