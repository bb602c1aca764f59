#!/usr/bin/env bash
# The runs behind this folder's tables and figure: some ten minutes of one CPU core. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}
data=results/data

train() { # WORDS...: trains, and prints the run's name
  $rlbench "$@" | tail -1 | sed 's|.*/||'
}

# Reacher: a policy that is half trained acts with noise; one that is trained further tells what there is to regret.
sac=(algo=sac env=reacher algo.start_steps=1000)
half=$(train "${sac[@]}" seed=1 steps=3000 eval.every=1000 "algo.hidden_dims=[128,128]")
whole=$(train "${sac[@]}" seed=0 steps=22000 eval.every=2000)
[ -e $data/reacher.hdf5 ] || $rlbench data make "policy=$half" steps=50000 noise=0.3 --to $data/reacher.hdf5
[ -e $data/reacher.npz ] || $rlbench data label env=reacher "dataset=file:$data/reacher.hdf5" "oracle=$whole" \
  segments=1000 length=32 --to $data/reacher.npz
$rlbench -m experiment=cpl_reacher
$rlbench -m experiment=cpl_reacher algo=cpl dataset.label=partial_return

# Problems whose optimum is known.
$rlbench -m algo=cpl,piql steps=3000 seeds=5
$rlbench -m algo=cpl_kl,cpl_bc,pref_sft steps=2000 seeds=5
$rlbench algo=cpl env=lqr_pref steps=2000 seeds=5
