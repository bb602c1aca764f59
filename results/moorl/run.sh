#!/usr/bin/env bash
# The runs behind this folder's tables and figure. Finished runs are skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
rlbench=${RLBENCH:-rlbench}

$rlbench -m experiment=moorl_pendulum
$rlbench -m experiment=moorl_pointmaze
