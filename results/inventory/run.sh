#!/usr/bin/env bash
# The runs behind this folder's tables and figure. Finished runs are skipped.
# `run.sh PART...` does some of it: store, lost, chain, hub, gradients, seasons take a few minutes of one CPU core, weeks
# and control a quarter of an hour each, depots one, long and retail up to two, networks up to three hours.
# retail needs a file of weekly sales (results/inventory/README.md says which): SALES=FILE.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}
run() { $rlbench -m "$@" seeds=3 tracking=disabled; }
judged=(env.test.traces=16384)
short=(algo.batch_size=128 algo.dev_every=25)

store() { # one store, normal demand that waits
  run algo=newsvendor,base_stock env=inv_one_store "${judged[@]}"
  run algo=hdpo env=inv_one_store "${judged[@]}" "${short[@]}" steps=300 eval.every=100
  run algo=hdpo env=inv_one_store "${judged[@]}" "${short[@]}" env.train.periods=30 env.train.ignored=10 steps=600 \
    eval.every=200
}
lost() { # one store, Poisson demand that is lost
  run algo=lost_sales_vi,base_stock,capped_base_stock env=inv_one_store_lost env.lead_time=2,4 "${judged[@]}"
  run algo=hdpo env=inv_one_store_lost env.lead_time=2 "${judged[@]}" "${short[@]}" steps=300 eval.every=100
}
chain() { # three stages and a store
  run algo=clark_scarf env=inv_serial "${judged[@]}"
  run algo=echelon_stock env=inv_serial "${judged[@]}" "${short[@]}" steps=200 eval.every=100
  run algo=hdpo env=inv_serial "${judged[@]}" "${short[@]}" algo.batch_size=64 steps=300 eval.every=150
}
hub() { # five stores behind a hub that keeps nothing
  run algo=federgruen_zipkin env=inv_transshipment
}
gradients() { # at equal simulated periods
  run algo=hdpo,inventory_reinforce,inventory_reward_to_go,inventory_ppo env=inv_one_store "${short[@]}" \
    steps=1000 eval.every=100
}
seasons() { # one store, weekly sales
  run algo=just_in_time,returns_newsvendor,quantile_newsvendor env=inv_one_store_seasonal
}
long() { # plain networks for longer
  run algo=hdpo env=inv_one_store steps=600,3000 eval.every=600 "${judged[@]}"
  run algo=hdpo env=inv_one_store_lost env.lead_time=2 steps=600 eval.every=600 "${judged[@]}"
  run algo=hdpo env=inv_serial algo.batch_size=256 steps=2000 eval.every=500 "${judged[@]}"
  run algo=hdpo env=inv_serial algo.batch_size=256 algo.learning_rate=3e-3 steps=4000 eval.every=1000 "${judged[@]}"
}
networks() { # graph and plain networks
  run algo=hdpo_gnn env=inv_serial algo.batch_size=64 steps=1500 eval.every=500 "${judged[@]}"
  run algo=hdpo,hdpo_gnn env=inv_transshipment algo.batch_size=256 algo.learning_rate=1e-3 \
    steps=1000 eval.every=500
  run algo=federgruen_zipkin env=inv_transshipment 'env.underage=[9.0]'
  run algo=hdpo,hdpo_gnn env=inv_transshipment 'env.underage=[9.0]' algo.batch_size=256 algo.learning_rate=1e-3 \
    steps=1000 eval.every=500
  warehouse=(env=inv_one_warehouse env.stores=10 algo.batch_size=64)
  run algo=hdpo,hdpo_gnn "${warehouse[@]}" env.train.traces=16,4096 algo.dev_every=25 steps=400 eval.every=200
  longer=(algo.dev_every=100 algo.patience=8000)
  run algo=hdpo "${warehouse[@]}" env.train.traces=16,4096 algo.learning_rate=1e-4 "${longer[@]}" steps=3000 \
    eval.every=1000
  run algo=hdpo "${warehouse[@]}" env.train.traces=16 "${longer[@]}" steps=8000 eval.every=2000
}
depots() { # ten stores, two warehouses
  two=(env=inv_many_warehouses algo.batch_size=64)
  run algo=stock_cover,hdpo_gnn "${two[@]}" algo.dev_every=25 steps=400 eval.every=200
  run algo=hdpo "${two[@]}" algo.learning_rate=1e-4 algo.dev_every=100 algo.patience=8000 steps=3000 eval.every=1000
}
weeks() { # learned policies on weekly sales
  run algo=fixed_quantile,transformed_newsvendor,hdpo_data_driven env=inv_one_store_seasonal
  run algo=hdpo_data_driven env=inv_one_store_seasonal algo.learning_rate=3e-3
}
control() { # one store as a gymnasium environment
  run algo=sac env=inv_one_store_control steps=30000 eval.every=5000 eval.episodes=100
  run algo=ppo env=inv_one_store_control algo.horizon=50 steps=200000 eval.every=20000 eval.episodes=100
}
retail() { # 21 stores, three warehouses, recorded weekly sales
  sales=(env=inv_retail dataset=demand "dataset.path=$SALES" dataset.first_week=2013-01-01 algo.batch_size=72
    algo.dev_every=10 steps=150 eval.every=50)
  run algo=stock_cover,hdpo_data_driven,hdpo "${sales[@]}"
  run algo=hdpo_gnn algo.policy.demand=past "${sales[@]}"
}
for part in "${@:-store lost chain hub gradients seasons}"; do
  for each in $part; do "$each"; done
done
