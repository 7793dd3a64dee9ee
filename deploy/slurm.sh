#!/usr/bin/env bash
# Runs foveal in a SLURM allocation, as a Dask cluster with one worker per task. Submit it in the clone:
#
#   sbatch deploy/slurm.sh my.yaml            builds a recipe; further words are options of foveal build
#   sbatch deploy/slurm.sh                    carries out runs of the work pool foveal-slurm until the time limit
#
# The second form needs PREFECT_API_URL, an address that the nodes reach. When the time limit stops a
# build, submit it again: it goes on where it was.
#
#SBATCH --job-name=foveal
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --open-mode=append
##SBATCH --gpus-per-task=1

set -euo pipefail

cd "${SLURM_SUBMIT_DIR:-$PWD}"
export PATH="$PWD/.venv/bin:$PATH"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}" MKL_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1

if (($# == 0)) && [[ -z "${PREFECT_API_URL:-}" ]]; then
    echo "slurm.sh: name a recipe, or set PREFECT_API_URL to the server of the work pool" >&2
    exit 2
fi

here="$(hostname)"
# All nodes have to see this folder, because it holds the scheduler's address.
folder="$(mktemp -d "$PWD/.foveal-slurm-${SLURM_JOB_ID:-0}-XXXXXX")"
started=()

# shellcheck disable=SC2329
finish() {
    trap - EXIT TERM INT
    kill "${started[@]}" 2>/dev/null || true
    wait || true
    rm -rf "$folder"
}
trap finish EXIT

# await WHAT COMMAND...: repeats a command until it succeeds, for two minutes at most.
await() {
    local what="$1" end=$((SECONDS + 120))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > end)); then
            echo "slurm.sh: $what did not start; see above" >&2
            exit 1
        fi
        sleep 0.5
    done
}

free_port() {
    python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

if [[ -z "${PREFECT_API_URL:-}" ]]; then
    port="$(free_port)"
    export PREFECT_API_URL="http://$here:$port/api"
    PREFECT_HOME="$folder/prefect" PREFECT_UI_ENABLED=0 PREFECT_LOGGING_LEVEL=ERROR \
        prefect server start --host "$here" --port "$port" >"$folder/server.log" 2>&1 &
    started+=($!)
    await "Prefect's server" \
        python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' \
        "$PREFECT_API_URL/health"
fi

dask scheduler --host "$here" --port 0 --no-dashboard --scheduler-file "$folder/scheduler.json" &
started+=($!)
await "Dask's scheduler" test -s "$folder/scheduler.json"
FOVEAL_CLUSTER="$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' \
    "$folder/scheduler.json")"
export FOVEAL_CLUSTER

# Each task is a worker process that takes one video at a time. Workers that see a GPU say so.
# shellcheck disable=SC2016
srun --kill-on-bad-exit=0 bash -c '
    kind=CPU
    [[ -n "${CUDA_VISIBLE_DEVICES:-}" ]] && kind=GPU
    exec dask worker "$FOVEAL_CLUSTER" --nthreads 1 --memory-limit 0 --no-dashboard \
        --resources "$kind=1" --death-timeout 60 --local-directory "${TMPDIR:-/tmp}" \
        --preload foveal.flows.elsewhere' &
started+=($!)

if (($#)); then
    foveal build "$@" &
else
    prefect worker start --pool foveal-slurm --type process &
fi
work=$!
started+=("$work")
trap 'kill -TERM "$work" 2>/dev/null || true' TERM INT

status=0
wait "$work" || status=$?
# A signal ends the first wait, but not the work.
while kill -0 "$work" 2>/dev/null; do
    status=0
    wait "$work" || status=$?
done
exit "$status"
