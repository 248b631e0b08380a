#!/usr/bin/env bash
# Runs a visit from a folder of `experiments.pack`, in the root of the working tree (docs/gpu.md).
#
#   bash experiments/visit.sh .visit OUTPUT MINUTES [flags of experiments.visit]
#   FLAGS=experiments/flags/look_gpu.flags bash experiments/visit.sh .visit OUTPUT MINUTES
#
# Installs the wheels, trains, and leaves what comes back in OUTPUT, all within the minutes.
set -euo pipefail
began_at=$(date +%s)
parcel=$1 output=$2 minutes=$3
shift 3
python=${PYTHON:-python3}
site=$(mktemp -d)
mkdir -p "$output"
if [ -d "$parcel/wheels" ]; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
    --disable-pip-version-check --root-user-action=ignore --target "$site" "$parcel"/wheels/*.whl
fi
# What XLA tries out while it compiles takes minutes of a visit; XLA_FLAGS= leaves it to it.
export XLA_FLAGS="${XLA_FLAGS---xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=2 \
  --xla_gpu_experimental_enable_fusion_autotuner=false \
  --xla_gpu_enable_analytical_sol_latency_estimator=false}"
export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
carried=()
[ -d "$parcel/state" ] && carried+=(--carry_from="$parcel/state")
[ -f "$parcel/cache.tar" ] && carried+=(--cache_from="$parcel/cache.tar")
[ -d "$parcel/inception" ] && carried+=(--inception="$parcel/inception")
"$python" -m experiments.visit --flagfile="${FLAGS:-experiments/flags/context_gpu.flags}" \
  --source_dir="$parcel/photos" --output="$output" --minutes="$minutes" --began_at="$began_at" \
  "${carried[@]}" "$@" 2>&1 | tee "$output/log.txt"
