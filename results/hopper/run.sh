#!/usr/bin/env bash
# The runs behind this folder's table: about 70 minutes on two CPU cores. Finished cells are skipped, so it can be stopped
# and started again. The two halves share the models of a data set through the cache.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

# Learned models: one set for the four seeds of a data set, at most 15 epochs (published: a set a seed, until patience ends).
models="algo.dynamics.per_seed=false algo.dynamics.max_epochs=15"

half() {
  $rlbench -m experiment=hopper_short algo=bc,td3_bc,iql "dataset=$1"
  $rlbench -m experiment=hopper_short algo=mopo "dataset=$1" $models
  $rlbench -m experiment=hopper_short algo=cocoa base=iql,mopo "dataset=$1" $models
  $rlbench -m experiment=hopper_short algo=cql "dataset=$1" "algo.hidden_dims=[128,128]"
}

half medium,expert &
half medium_replay &
wait
