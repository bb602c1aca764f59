#!/usr/bin/env bash
# The runs behind this folder's tables: about three hours on two CPU cores. Finished runs are skipped, so it can be
# stopped and started again. The two halves share the models of a data set through the cache.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

# Learned models: one set for all seeds of a data set, at most 15 epochs (published: a set a seed, until patience ends).
models="algo.dynamics.per_seed=false algo.dynamics.max_epochs=15"

table() { # DATASETS
  $rlbench -m experiment=hopper_short algo=bc,td3_bc,iql "dataset=$1"
  $rlbench -m experiment=hopper_short algo=mopo "dataset=$1" $models
  $rlbench -m experiment=hopper_short algo=cocoa base=iql,mopo "dataset=$1" $models
  $rlbench -m experiment=hopper_short algo=cql "dataset=$1" "algo.hidden_dims=[128,128]"
}

others() {
  $rlbench experiment=hopper_short algo=rebrac dataset=medium steps=3000 eval.every=300
  $rlbench experiment=hopper_short algo=mobile dataset=medium $models steps=1000 eval.every=100
  $rlbench -m experiment=hopper_short algo=edac,sac_n dataset=medium algo.num_critics=10 steps=3000 eval.every=300
  $rlbench experiment=hopper_short algo=sac steps=15000 eval.every=1500
  $rlbench experiment=hopper_short algo=td3 steps=50000 eval.every=5000 # it begins to learn at 25,000
}

longer() {
  local words="experiment=hopper_short seeds=3 steps=20000 dataset=medium"
  $rlbench -m $words algo=bc,iql
  $rlbench $words algo=cocoa base=iql $models
  $rlbench $words algo=mopo $models algo.rollout_starts=2000
  $rlbench $words algo=cocoa base=mopo $models algo.base.rollout_starts=2000
  $rlbench experiment=hopper_short seeds=1 steps=60000 eval.every=5000 algo=iql dataset=expert
}

table medium,expert &
{
  table medium_replay
  longer
  others
} &
wait
