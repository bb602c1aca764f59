#!/usr/bin/env bash
# The runs behind this folder's tables and figure: the better part of an hour of one CPU core. Finished runs are skipped.
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
compared 32000 env=recovering_bandit_patience
$rlbench -m algo=optimal_schedule env=recovering_bandit,recovering_bandit_step,recovering_bandit_patience steps=32000 eval.every=32000 seeds=5

# What learns in the forms of the same problem for algorithms that know nothing of arms: scores, and choices.
$rlbench algo=ppo env=recovering_bandit_control steps=200000 eval.every=10000 eval.episodes=5 seeds=5
$rlbench algo=dqn env=recovering_bandit_discrete steps=100000 eval.every=5000 eval.episodes=5 seeds=5
$rlbench algo=ppo env=recovering_bandit_discrete steps=100000 eval.every=5000 eval.episodes=5 seeds=5

# N = 1000, K = 200, D = 30: the full length, some twenty minutes, and a fiftieth of it.
$rlbench experiment=recovering_bandit_full
$rlbench experiment=recovering_bandit_full steps=20000 eval.every=2000
