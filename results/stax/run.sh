#!/usr/bin/env bash
# The runs behind this folder's page: a minute of one CPU core each, but for what learns from images, which takes ten
# minutes a seed, and what learns from steps, some ten minutes for its three. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

$rlbench -m algo=serene,map_elites,ns,random_search,nsga2_ns,nslc,cma_me,cma_es seeds=10
$rlbench -m algo=serene,ns,random_search env.radius=0.1 steps=20000 seeds=10
$rlbench -m algo=stax,taxons env.radius=0.1 steps=20000 seeds=3
$rlbench algo=stax algo.max_epochs=0 env.radius=0.1 steps=20000 seeds=3
$rlbench -m algo=serene,ns,random_search env=point2d_goals steps=20000 seeds=10
$rlbench algo=stax env=point2d_goals steps=20000 seeds=3

# What learns from steps, and searches with as many episodes: 50 steps are one.
$rlbench algo=ppo env=point2d_goals_final steps=250000 seeds=3
$rlbench -m algo=serene,ns,random_search steps=5000 seeds=10
$rlbench algo=sac env=point2d_goals_final steps=15000 seeds=3
$rlbench -m algo=serene,ns,random_search steps=300 eval.every=300 seeds=10
