#!/usr/bin/env bash
# The runs behind this folder's page: a minute of one CPU core each, but for what learns from images, which takes a GPU
# (hardware=cpu: ten minutes a seed and more), and what learns from steps, some ten minutes for its three. Finished runs
# are skipped. latent.py needs the runs' checkpoints, which are not in runs.zip.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}
runs=${RLBENCH_RESULTS:-results}/runs/stax

$rlbench -m algo=serene,map_elites,ns,random_search,nsga2_ns,nslc,cma_me,cma_es seeds=10
$rlbench -m algo=serene,ns,random_search env.radius=0.1 steps=20000 seeds=10
$rlbench -m algo=stax,taxons env.radius=0.1 steps=20000 seeds=3 hardware=gpu
$rlbench algo=stax algo.max_epochs=0 env.radius=0.1 steps=20000 seeds=3 hardware=gpu
$rlbench -m algo=serene,ns,random_search env=point2d_goals steps=20000 seeds=10

# Variants.
$rlbench -m algo=serene algo.emitter=fitness,novelty,cma_es steps=20000 seeds=10
$rlbench algo=serene algo.archiving=best steps=20000 seeds=10

# The learned space: with the authors' batches and epochs, in the arm and, with more episodes, in the room.
$rlbench -m algo=stax env=redundant_arm steps=10000 seed="range(3)" hardware=gpu
$rlbench -m algo=stax algo.batch_size=128 algo.max_epochs=100 env.radius=0.1 steps=50000 seed="range(3)" hardware=gpu
python results/stax/latent.py "$runs"/redundant_arm-online/* "$runs"/point2d_goals_final-online/*

# What learns from steps, and searches with as many episodes: 50 steps are one.
$rlbench algo=ppo env=point2d_goals_final steps=250000 seeds=3
$rlbench -m algo=serene,ns,random_search steps=5000 seeds=10
$rlbench algo=sac env=point2d_goals_final steps=15000 seeds=3
$rlbench -m algo=serene,ns,random_search steps=300 eval.every=300 seeds=10
