#!/usr/bin/env bash
# The runs of the whole comparison: some fifteen minutes of one quiet CPU core, by estimate. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

run() {
  $rlbench "$@" seeds=5 tracking=disabled
}

for beta in 0.5 1.0; do
  run algo=dpo env.beta=$beta eval.every=6000
done
run algo=preferred_ft eval.every=6000
for alpha in 0.05 0.1 0.5 1; do
  run algo=unlikelihood algo.alpha=$alpha eval.every=6000
done
for pairs in 600 2000 20000; do
  run algo=dpo dataset.pairs=$pairs steps=$((3 * pairs)) eval.every=$((3 * pairs))
done
run algo=dpo dataset=enum_rankings dataset.rankings=6000 eval.every=6000
run algo=dpo dataset=enum_rankings dataset.rankings=3000 eval.every=6000
run algo=dpo dataset=enum_rankings dataset.rankings=3000 steps=9000 eval.every=3000
run algo=dpo dataset=enum_rankings dataset.rankings=1000 eval.every=6000
run algo=rlhf_ppo algo.reward=ground_truth eval.every=4000
run algo=dpo env.beta=0.1 eval.every=6000
run algo=rlhf_ppo eval.every=4000
for n in 16 128; do
  run algo=best_of_n algo.n=$n eval.every=18000
done
run algo=ipo eval.every=6000
run algo=cdpo eval.every=6000
