#!/usr/bin/env bash
# What results/compare/ holds, from nothing, in a minute: bash results/compare/run.sh [FOLDER]
# Runs go to RLBENCH_RESULTS, which is to be empty; tables and figures to FOLDER, by default the one of this script.
set -euo pipefail
out=$(realpath "${1:-$(dirname "$0")}")

rlbench -m algo=ppp,ucb_ppp,ucb_greedy,myopic_greedy,round_robin env=recovering_bandit,recovering_bandit_step \
  steps=2000 eval.every=100 'seed=range(5)' tracking=disabled hardware=local

rlbench compare > "$out/compare.txt"
rlbench compare --plain > "$out/compare.tsv"
rlbench plot bars --out "$out/bars.svg"
rlbench plot curves --out "$out/curves.svg"
rlbench plot improvement --out "$out/improvement.svg"

# The same runs by what they lost: low values are good.
rlbench compare --metric eval/regret --plain > "$out/regret.tsv"
rlbench plot curves --metric eval/regret --out "$out/regret.svg"
