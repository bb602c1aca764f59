#!/usr/bin/env bash
# The runs behind this folder's tables and figures: some five hours of one CPU core. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}
data=results/data

train() { # WORDS...: trains, and prints the run's name
  $rlbench "$@" | tail -1 | sed 's|.*/||'
}

# A policy that is half trained acts with noise; those that are trained further tell what there is to regret.
pendulum=(algo=sac env=pendulum algo.start_steps=1000 "algo.hidden_dims=[64,64]" algo.batch_size=128
  algo.actor_learning_rate=1e-3 algo.critic_learning_rate=1e-3 algo.alpha_learning_rate=1e-3)
half=$(train "${pendulum[@]}" steps=3000 eval.every=1000)
early=$(train "${pendulum[@]}" steps=8000 eval.every=1000)
whole=$(train "${pendulum[@]}" steps=50000 eval.every=5000)
[ -e $data/pendulum.hdf5 ] || $rlbench data make "policy=$half" steps=100000 noise=0.3 --to $data/pendulum.hdf5
tell() { # ORACLE FILE
  [ -e $data/$2 ] || $rlbench data label env=pendulum "dataset=file:$data/pendulum.hdf5" "oracle=$1" \
    segments=2500 length=64 --to $data/$2
}
tell "$early" pendulum.npz
tell "$whole" pendulum_50000.npz
$rlbench -m experiment=cpl_pendulum
on_early=(env=pendulum "dataset=pref_segments:$data/pendulum.npz" seeds=3 steps=50000 eval.every=2500 eval.episodes=20
  "algo.hidden_dims=[256,256]" algo.bc_steps=20000)
$rlbench -m algo=cpl,cpl_kl "${on_early[@]}" algo.warmup_steps=1000 algo.batch_size=8
# With the authors' minibatches, hours of a core, or ten minutes a run on a GPU: MORE='hardware=gpu compile=on'
if [ -n "${MORE:-}" ]; then
  $rlbench algo=cpl "${on_early[@]}" algo.warmup_steps=1000 algo.batch_size=96 $MORE
  $rlbench algo=pref_sft "${on_early[@]}" algo.batch_size=96 $MORE
fi

# The same on Reacher.
sac=(algo=sac env=reacher algo.start_steps=1000)
half=$(train "${sac[@]}" seed=1 steps=3000 eval.every=1000 "algo.hidden_dims=[128,128]")
whole=$(train "${sac[@]}" seed=0 steps=22000 eval.every=2000)
reacher() { # NAME STEPS SEGMENTS: makes data
  [ -e $data/$1.hdf5 ] || $rlbench data make "policy=$half" steps=$2 noise=0.3 --to $data/$1.hdf5
  [ -e $data/$1.npz ] || $rlbench data label env=reacher "dataset=file:$data/$1.hdf5" "oracle=$whole" \
    segments=$3 length=32 --to $data/$1.npz
}
reacher reacher 100000 2500
$rlbench -m experiment=cpl_reacher

# And in minutes, with labels by what was earned as well.
reacher reacher_short 50000 1000
$rlbench -m experiment=cpl_reacher_short
$rlbench -m experiment=cpl_reacher_short algo=cpl dataset.label=partial_return

# Problems whose optimum is known.
$rlbench -m algo=cpl,cpl_kl,cpl_bc,pref_sft,piql seeds=5
$rlbench -m algo=cpl dataset.judged_by=regret,partial_return env.seed=0,1,2 seeds=5
$rlbench -m algo=cpl dataset.labels=sampled env.seed=0,1,2 seeds=5
$rlbench -m algo=cpl dataset.labels=sampled dataset.pairs=200 env.choices=12 env.unseen=4 algo.conservatism=0.5,1 seeds=5
$rlbench algo=cpl env=lqr_pref seeds=5
