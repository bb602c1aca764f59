#!/usr/bin/env bash
# The runs behind this folder's tables and figures: some twenty minutes of one CPU core, and ten on a GPU for the pendulum
# (MORE='hardware=gpu compile=on'). Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}
data=results/data

train() { # WORDS...: trains, and prints the run's name
  $rlbench "$@" | tail -1 | sed 's|.*/||'
}

# A policy that is half trained acts with noise; one that is trained further tells what there is to regret.
pendulum=(algo=sac env=pendulum algo.start_steps=1000 "algo.hidden_dims=[64,64]" algo.batch_size=128
  algo.actor_learning_rate=1e-3 algo.critic_learning_rate=1e-3 algo.alpha_learning_rate=1e-3)
half=$(train "${pendulum[@]}" steps=3000 eval.every=1000)
whole=$(train "${pendulum[@]}" steps=8000 eval.every=1000)
[ -e $data/pendulum.hdf5 ] || $rlbench data make "policy=$half" steps=100000 noise=0.3 --to $data/pendulum.hdf5
[ -e $data/pendulum.npz ] || $rlbench data label env=pendulum "dataset=file:$data/pendulum.hdf5" "oracle=$whole" \
  segments=2500 length=64 --to $data/pendulum.npz
$rlbench -m experiment=cpl_pendulum ${MORE:-}

# The same on Reacher, small enough for one core, and with labels by what was earned.
sac=(algo=sac env=reacher algo.start_steps=1000)
half=$(train "${sac[@]}" seed=1 steps=3000 eval.every=1000 "algo.hidden_dims=[128,128]")
whole=$(train "${sac[@]}" seed=0 steps=22000 eval.every=2000)
[ -e $data/reacher.hdf5 ] || $rlbench data make "policy=$half" steps=50000 noise=0.3 --to $data/reacher.hdf5
[ -e $data/reacher.npz ] || $rlbench data label env=reacher "dataset=file:$data/reacher.hdf5" "oracle=$whole" \
  segments=1000 length=32 --to $data/reacher.npz
$rlbench -m experiment=cpl_reacher
$rlbench -m experiment=cpl_reacher algo=cpl dataset.label=partial_return

# Problems whose optimum is known.
$rlbench -m algo=cpl,cpl_kl,cpl_bc,pref_sft,piql seeds=5
$rlbench -m algo=cpl dataset.judged_by=regret,partial_return env.seed=0,1,2 seeds=5
$rlbench -m algo=cpl dataset.labels=sampled env.seed=0,1,2 seeds=5
$rlbench -m algo=cpl dataset.labels=sampled dataset.pairs=200 env.choices=12 env.unseen=4 algo.conservatism=0.5,1 seeds=5
$rlbench algo=cpl env=lqr_pref seeds=5
