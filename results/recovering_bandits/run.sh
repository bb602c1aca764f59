#!/usr/bin/env bash
# The runs behind this folder's tables and figure: about five minutes on one CPU core, the last two of them twenty more.
# Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

compared() { # STEPS WORDS...
  local steps=$1
  shift
  $rlbench -m algo=ucb_ppp algo.c=2.0,0.1 algo.phase=48 "steps=$steps" "eval.every=$((steps / 80))" seeds=5 "$@"
  $rlbench -m algo=ppp,ucb_greedy,myopic_greedy,round_robin,ucb1,random_pulls \
    "steps=$steps" "eval.every=$((steps / 80))" seeds=5 "$@"
}

for steps in 2000 8000 32000; do
  compared "$steps" env=recovering_bandit
done
compared 32000 env=recovering_bandit_step
$rlbench -m algo=optimal_schedule env=recovering_bandit,recovering_bandit_step steps=32000 eval.every=32000 seeds=5

# Large: N = 1000, K = 200, D = 30.
$rlbench experiment=recovering_bandit_full steps=100000 eval.every=10000
$rlbench experiment=recovering_bandit_full seeds=4
