#!/usr/bin/env bash
# The runs behind this folder's tables and figure: some half an hour of one CPU core. Finished runs are skipped.
# `run.sh PART...` does some of it: store, lost, chain, hub, warehouse, gradients, seasons, long.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}
run() { $rlbench -m "$@" seeds=3 tracking=disabled; }
# Each seed has test traces of its own; long enough for a standard error of some 0.3 %.
judged=(env.test.traces=16384)

store() { # one store, normal demand that waits
  run algo=newsvendor,base_stock env=inv_one_store "${judged[@]}"
  run algo=hdpo env=inv_one_store steps=600 eval.every=300 "${judged[@]}"
}
long() { # the same, for longer
  run algo=hdpo env=inv_one_store steps=3000 eval.every=1000 "${judged[@]}"
  run algo=hdpo env=inv_one_store_lost env.lead_time=2,4 steps=2400 eval.every=800 "${judged[@]}"
}
lost() { # one store, Poisson demand that is lost
  run algo=lost_sales_vi,base_stock,capped_base_stock env=inv_one_store_lost env.lead_time=2,4 "${judged[@]}"
  run algo=hdpo env=inv_one_store_lost env.lead_time=2 steps=600 eval.every=300 "${judged[@]}"
}
chain() { # three stages and a store
  run algo=clark_scarf,echelon_stock env=inv_serial "${judged[@]}"
  run algo=hdpo env=inv_serial steps=1000 eval.every=500 "${judged[@]}"
  run algo=hdpo_gnn env=inv_serial algo.batch_size=64 steps=500 eval.every=250 "${judged[@]}"
}
hub() { # five stores behind a hub that keeps nothing
  run algo=federgruen_zipkin env=inv_transshipment "${judged[@]}" env.test.traces=8192
  run algo=hdpo env=inv_transshipment algo.batch_size=256 algo.learning_rate=1e-3 steps=1000 eval.every=500 env.test.traces=8192
}
warehouse() { # ten stores, one warehouse, few traces and many
  shared=(env=inv_one_warehouse env.stores=10 algo.dev_every=25 steps=400 eval.every=200)
  run algo=hdpo,hdpo_gnn "${shared[@]}" env.train.traces=16
  run algo=hdpo,hdpo_gnn "${shared[@]}" env.train.traces=4096 algo.batch_size=64
}
gradients() { # at equal simulated periods
  run algo=hdpo,inventory_reinforce,inventory_reward_to_go,inventory_ppo env=inv_one_store \
    algo.batch_size=128 steps=100 eval.every=25 algo.dev_every=25
}
seasons() { # one store, weekly sales
  run algo=just_in_time,returns_newsvendor,quantile_newsvendor env=inv_one_store_seasonal
  run algo=fixed_quantile,transformed_newsvendor env=inv_one_store_seasonal algo.batch_size=256 steps=200
  run algo=hdpo_data_driven env=inv_one_store_seasonal algo.batch_size=256 steps=1500 eval.every=500
}
for part in "${@:-store lost chain hub warehouse gradients seasons long}"; do
  for each in $part; do "$each"; done
done
