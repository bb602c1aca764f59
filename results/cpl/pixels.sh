#!/usr/bin/env bash
# CPL from pictures, and MOORL: a pendulum of 32 x 32 pixels. The data take some two minutes of one CPU core, the sweeps
# some ten on a GPU: MORE='hardware=gpu compile=on'. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}
data=results/data

train() { # WORDS...: trains, and prints the run's name
  $rlbench "$@" | tail -1 | sed 's|.*/||'
}

# A policy that is half trained acts on states, with noise, and is seen; one that is trained tells what there is to regret.
sac=(algo=sac env=pendulum algo.start_steps=1000 "algo.hidden_dims=[64,64]" algo.batch_size=128
  algo.actor_learning_rate=1e-3 algo.critic_learning_rate=1e-3 algo.alpha_learning_rate=1e-3)
half=$(train "${sac[@]}" steps=3000 eval.every=1000)
whole=$(train "${sac[@]}" steps=8000 eval.every=1000)
[ -e "$data/pendulum_pixels.hdf5" ] || $rlbench data make "policy=$half" steps=20000 noise=0.3 views=pendulum_pixels \
  env.size=32 --to "$data/pendulum_pixels.hdf5"
[ -e "$data/pendulum_pixels.npz" ] || $rlbench data label env=pendulum_pixels env.size=32 \
  "dataset=file:$data/pendulum_pixels.hdf5" "oracle=$whole" segments=2500 length=16 --to "$data/pendulum_pixels.npz"
$rlbench -m experiment=cpl_pixels ${MORE:-}
$rlbench -m experiment=moorl_pixels ${MORE:-}
