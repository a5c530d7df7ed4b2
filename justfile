set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

# MLflow's own variable says where the records are; without it, a SQLite file beside this one.
export MLFLOW_TRACKING_URI := env("MLFLOW_TRACKING_URI", "sqlite:///" + justfile_directory() + "/mlflow.db")
python := ".venv/bin/python"

# list the recipes
default:
    @just --list --unsorted

# train what a sweep still lacks, evaluate, record, write the tables: just sweep NAME|FILE [override …] [--quiet]
[no-exit-message]
sweep name *overrides: _setup
    @{{ python }} -m pipeline sweep "$@"

# check this machine before a sweep: GPUs, folders, disk, tracking store, weights: just doctor [override …] [--json]
[no-exit-message]
doctor *overrides: _setup
    @{{ python }} -m pipeline doctor "$@"

# the dry run of a sweep: every trial, what is done, predicted memory and time; trains nothing [--json] [--verbose]
[no-exit-message]
plan name *overrides: _setup
    @{{ python }} -m pipeline plan "$@"

# what became of a sweep's trials, from the records alone [--json]
[no-exit-message]
status name *options: _setup
    @{{ python }} -m pipeline status "$@"

# forget a row of a sweep, its runs and checkpoints: just drop NAME ROW [override …] [--yes]
[no-exit-message]
drop name row *options: _setup
    @{{ python }} -m pipeline drop "$@"

# write a sweep of a search's best rows: just promote explore [override …] [--count=3] [--to=NAME]
[no-exit-message]
promote name *options: _setup
    @{{ python }} -m pipeline promote "$@"

# rebuild a sweep's tables, figures and report from MLflow alone: just tables NAME [--task=TASK] [--price-per-hour=2.5]
[no-exit-message]
tables name *options: _setup
    @{{ python }} -m analysis tables "$@"

# two sweeps, tasks or result versions side by side: just compare NAME[/TASK][@VERSION] OTHER [--other-store=URI]
[no-exit-message]
compare one other *options: _setup
    @{{ python }} -m analysis compare "$@"

# MLflow's UI on this machine's loopback
[no-exit-message]
ui port="5000": _setup
    @case "$MLFLOW_TRACKING_URI" in http*) echo "The records are on a server: $MLFLOW_TRACKING_URI" && exit 1 ;; esac
    @echo "http://127.0.0.1:{{ port }} (stop with Ctrl-C)"
    @MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {{ python }} -m mlflow server \
        --backend-store-uri "$MLFLOW_TRACKING_URI" --host 127.0.0.1 --port {{ port }} --workers 1

# fetch a data set, or prepare it from your copy, and check it: just data horse2zebra | cat2dog --from FOLDER
[no-exit-message]
data name *options: _setup
    @{{ python }} -m pipeline data "$@"

# one trial in this process, without Ray: just train model=fastcut seed=1
[no-exit-message]
train *overrides: _setup
    @{{ python }} -m pipeline train "$@"

# score a trial, a checkpoint (also the reference code's) or a folder of images: just evaluate WHAT [override …] [compare=pytorch-fid]
[no-exit-message]
evaluate what *overrides: _setup
    @{{ python }} -m pipeline evaluate "$@"

# apply a trained generator to a file or folder of images: just translate RUN INPUT OUTPUT
[no-exit-message]
translate run input output *overrides: _setup
    @{{ python }} -m pipeline translate "$@"

# write a trial's networks as the reference code's files, latest_net_G.pth and so on
[no-exit-message]
export run folder *overrides: _setup
    @{{ python }} -m pipeline export "$@"

# measure steps, data, packing, evaluation, sweeps or tables: just bench step|data|pack|fid|sweep|tables [--json]
[no-exit-message]
bench what *options: _setup
    @{{ python }} -m pipeline bench "$@"

# write the tables of README.md and docs/performance.md, and README's pictures, from docs/results/
docs: _setup
    @{{ python }} -m analysis docs

# lint and types
check: _setup
    {{ python }} -m ruff check .
    {{ python }} -m ruff format --check .
    {{ python }} -m pyright

# the tests: just test [pytest's options]; the slow ones with: just test -m slow
[no-exit-message]
test *options: _setup
    @{{ python }} -m pytest "$@"

# write requirements.lock anew from the newest versions that pyproject.toml admits
lock:
    #!/usr/bin/env bash
    set -euo pipefail
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    python3 -m venv "$fresh"
    "$fresh/bin/python" -m pip install --quiet --editable '.[dev]'
    # The CUDA libraries behind torch exist for Linux alone.
    "$fresh/bin/python" -m pip freeze --exclude-editable \
        | sed -E "s/^((nvidia|cuda)-[^=]*|triton)==(.*)/\1==\3; sys_platform == 'linux'/" > requirements.lock

# Makes .venv on first use, and again when pyproject.toml or requirements.lock change.
[no-exit-message]
_setup:
    #!/usr/bin/env bash
    set -euo pipefail
    wanted=$(cat pyproject.toml requirements.lock | git hash-object --stdin)
    [ "$(cat .venv/made-from 2>/dev/null)" = "$wanted" ] && exit 0
    for candidate in python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            found=$candidate
            break
        fi
    done
    if [ -z "${found:-}" ]; then
        echo "error: no Python 3.11, 3.12 or 3.13 on the PATH; install one of them" >&2
        exit 2
    fi
    echo "Setting up .venv with $("$found" --version): some 7 GB, minutes on a fast network." >&2
    rm -f .venv/made-from
    "$found" -m venv .venv
    echo "  installing the packages of requirements.lock …" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
    echo "  installing the project …" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
    echo "$wanted" > .venv/made-from
