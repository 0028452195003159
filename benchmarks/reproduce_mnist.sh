#!/usr/bin/env bash
# The paper's MNIST rows on an accelerator, for real: the benchmark, then the doubling VNCA, the baseline and the
# non-doubling VNCA, each trained for 100,000 updates and evaluated, and the table of what there is.
#
#   VNCA_DATA_DIR=DIR bash benchmarks/reproduce_mnist.sh
#
# Time may come in pieces. A call trains for MINUTES at most; it exits with 75 where something is left, and the same call
# goes on from there, on another machine too if the folder RUNS has been copied to it (72 MB a checkpoint of the doubling
# VNCA, of which the newest is enough). It exits with 0 once all is done. Evaluations are not interrupted: they take
# minutes at the end of each experiment, and begin anew if they were cut off.
#
#   MINUTES=9       of training in this call
#   RUNS=runs       where runs are kept
#   EXPERIMENTS="mnist_doubling mnist_baseline mnist_nondoubling"
#   PRESET=paper    cpu is a trial in miniature
#   FLAGS=""        more flags of the experiments
#   PACK=""         a folder for finished models, results, metrics and pictures, in pieces of 15 MiB; to unpack them:
#                   cat results.tar.* | tar -xz
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${MINUTES:=9}" "${RUNS:=runs}" "${PRESET:=paper}" "${FLAGS:=}" "${PACK:=}" "${PYTHON:=python}"
: "${EXPERIMENTS:=mnist_doubling mnist_baseline mnist_nondoubling}"
mkdir -p "$RUNS"

again=0
if [ ! -e "$RUNS/accelerator.json" ]; then
  "$PYTHON" -m benchmarks.accelerator --json "$RUNS/accelerator.json"
fi
for experiment in $EXPERIMENTS; do
  run="$RUNS/$experiment/$PRESET"
  if [ -e "$run/done" ]; then continue; fi
  left=$(awk "BEGIN { print $MINUTES - $SECONDS / 60 }")
  case $left in -* | 0) again=75 && break ;; esac
  # shellcheck disable=SC2086 # several flags
  "$PYTHON" -m "experiments.$experiment" --preset "$PRESET" --out "$RUNS" --max-minutes "$left" $FLAGS || again=$?
  if [ $again -ne 0 ]; then break; fi
  touch "$run/done"
done
"$PYTHON" -m experiments.table --runs "$RUNS" pretrained
if [ -n "$PACK" ]; then
  mkdir -p "$PACK"
  find "$RUNS" -type f -not -path '*/checkpoints/*' -not -path '*/tensorboard/*' -print0 |
    tar --create --gzip --null --files-from - | split --bytes 15M - "$PACK/results.tar."
fi
exit $again
