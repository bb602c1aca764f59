#!/usr/bin/env bash
# The runs behind this folder's table (the first line), and those that are still to be made, most of them an hour of one
# CPU core for what learns from images. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

$rlbench -m algo=serene,map_elites,ns,random_search seeds=3
$rlbench -m algo=nsga2_ns,cma_me,cma_es seeds=3
$rlbench -m algo=stax,taxons,serene,ns,random_search env.radius=0.1 steps=20000 seeds=3
$rlbench algo=stax algo.max_epochs=0 env.radius=0.1 steps=20000 seeds=3
$rlbench -m algo=stax,serene env=point2d_goals steps=20000 seeds=3
