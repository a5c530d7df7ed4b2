#!/usr/bin/env bash
# Run a sweep on the nodes of a Slurm job, with a Ray cluster that lives as long as the job. Submit it in the folder of
# the project, which all nodes share:
#
#     MLFLOW_TRACKING_URI=http://HOST:5000 sbatch --nodes=4 --gpus-per-node=2 deploy/slurm.sh NAME [override …]
#
# Two minutes before its time limit it saves and queues itself again. docs/cluster.md says more.
#SBATCH --job-name=cut-ablation
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.txt
set -euo pipefail

# At most, for Ray to start on the first node.
START_SECONDS=120
# For the trials of a node to save; SECONDS_TO_SAVE of pipeline/trial/process.py, and some more.
export SAVE_SECONDS=15

fail() {
    echo "error: $1" >&2
    exit 2
}

# The IP address of a node, by the name that Slurm gives it.
address_of() {
    local name
    name=$(scontrol show node --oneliner "$1" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
    getent ahostsv4 "$name" | awk 'NR == 1 { print $1 }'
}

# Start a node of Ray with these options, until the step ends.
# shellcheck disable=SC2329 # it runs on the nodes
start_node() {
    # Of this job alone: /tmp/ray can belong to another user.
    folder=$(mktemp -d /tmp/ray-XXXXXX)
    # Ray itself ends at SIGTERM, and then this function.
    ended=
    trap 'ended=yes' TERM
    ray start --block --node-ip-address="$(address_of "$SLURMD_NODENAME")" \
        --num-cpus="$SLURM_CPUS_ON_NODE" --object-store-memory=200000000 --temp-dir="$folder" "$@" \
        > "$folder/said.txt" 2>&1 || [ "$ended" ] || tail -n 20 "$folder/said.txt" >&2
    # Slurm kills what this function leaves. At the end of the job, which removes the token, no trial is left to save.
    if [ -e "$RAY_AUTH_TOKEN_PATH" ]; then
        # The sweep may end before its trials have saved, and `finish` then sends a second SIGTERM.
        trap '' TERM
        sleep "$SAVE_SECONDS"
    fi
    rm -rf "$folder"
}

# A step of Slurm with Ray on one node or more: step HOW-MANY SRUN-OPTION RAY-OPTION …
step() {
    srun --nodes="$1" --ntasks="$1" "$2" bash -c "$(declare -f address_of start_node); start_node ${*:3}" &
    steps+=("$!")
}

# shellcheck disable=SC2329 # a trap calls it
finish() {
    trap '' TERM
    rm -f "$RAY_AUTH_TOKEN_PATH"
    # The steps, and not this script. Ending srun itself would kill them before they clear up.
    scancel --signal=TERM "$SLURM_JOB_ID" || true
    wait
}

[ $# -gt 0 ] || fail "no sweep is named. Write: sbatch deploy/slurm.sh NAME [override …]"
[ -n "${SLURM_JOB_ID:-}" ] || fail "this is no job of Slurm. Write: sbatch deploy/slurm.sh NAME [override …]"
case ${MLFLOW_TRACKING_URI:-} in
    http://* | https://*) ;;
    *) fail "MLFLOW_TRACKING_URI names no server that all nodes reach. Start one with just server" ;;
esac
cd "$SLURM_SUBMIT_DIR"
export PATH="$PWD/.venv/bin:$PATH" RAY_USAGE_STATS_ENABLED=0 SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
# At SIGTERM Ray would wait for half a minute, and Slurm kills before.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0

# Who knows the token can run code on the nodes. Others on the cluster cannot read this file.
mkdir -p .cache
RAY_AUTH_TOKEN_PATH=$(mktemp "$PWD/.cache/slurm-$SLURM_JOB_ID-XXXXXX")
export RAY_AUTH_TOKEN_PATH RAY_AUTH_MODE=token
steps=()
trap finish EXIT
python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH"

first=$SLURMD_NODENAME
port=$((20000 + SLURM_JOB_ID % 10000))
RAY_ADDRESS=$(address_of "$first"):$port
# No port of Ray's defaults: another job may have its head on the same node.
step 1 --nodelist="$first" --head --port="$port" --include-dashboard=false \
    --dashboard-port="$((port + 10000))" --ray-client-server-port="$((port + 20000))"
until ray health-check --address="$RAY_ADDRESS" 2> /dev/null; do
    [ "$SECONDS" -lt "$START_SECONDS" ] || fail "Ray did not start on $first. The lines above say why"
    sleep 1
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    step "$((SLURM_JOB_NUM_NODES - 1))" --exclude="$first" --address="$RAY_ADDRESS"
fi
export RAY_ADDRESS

# Slurm sends SIGTERM to this script alone before the time limit, but to all processes at scancel. A second signal would
# end the sweep at once. So the sweep ignores SIGTERM, and this script sends it SIGINT, once.
stopped=
trap 'trap "" TERM; stopped=yes; kill -INT "$sweep"' TERM
set -m # without it, what runs in the background ignores SIGINT
(
    trap '' TERM
    exec python -m pipeline sweep "$@"
) &
sweep=$!
set +m
code=0
wait "$sweep" || code=$?
if [ "$stopped" ]; then
    # The signal has ended the first wait.
    code=0
    wait "$sweep" || code=$?
    # After scancel, Slurm has ended the steps, too.
    if [ "$(squeue --noheader --job "$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
        sleep "$SAVE_SECONDS"
        scontrol requeue "$SLURM_JOB_ID" || echo "The job is not queued again. Submit it again to resume." >&2
    else
        # Now each node waits for its trials. Slurm may kill this script before they have ended.
        sleep 5
        rm -f "$RAY_AUTH_TOKEN_PATH"
        wait "${steps[@]}" || true
    fi
fi
exit "$code"
