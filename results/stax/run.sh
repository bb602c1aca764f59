#!/usr/bin/env bash
# The runs behind this folder's page: a minute of one CPU core each, but for what learns from images, which takes ten
# minutes a seed. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

$rlbench -m algo=serene,map_elites,ns,random_search,nsga2_ns,nslc,cma_me,cma_es seeds=10
$rlbench -m algo=serene,ns,random_search env.radius=0.1 steps=20000 seeds=10
$rlbench -m algo=stax,taxons env.radius=0.1 steps=20000 seeds=3
$rlbench algo=stax algo.max_epochs=0 env.radius=0.1 steps=20000 seeds=3
$rlbench -m algo=serene,ns,random_search env=point2d_goals steps=20000 seeds=10
$rlbench algo=stax env=point2d_goals steps=20000 seeds=3
