set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

# MLflow's variable for the address of the records. Without it they are in a SQLite file in this folder.
export MLFLOW_TRACKING_URI := env("MLFLOW_TRACKING_URI", "sqlite:///" + justfile_directory() + "/mlflow.db")
python := ".venv/bin/python"

[private]
default:
    @just --list --unsorted
    @echo "just COMMAND --help shows what a command with *arguments takes."

# train what is not done, then write the report
[group: 'sweeps']
[no-exit-message]
sweep *arguments: _setup
    @{{ python }} -m pipeline sweep "$@"

# let a Ray cluster run a sweep as a job
[group: 'sweeps']
[no-exit-message]
submit *arguments: _setup
    @{{ python }} -m pipeline submit "$@"

# check this machine before a sweep
[group: 'machine and data']
[no-exit-message]
doctor *arguments: _setup
    @{{ python }} -m pipeline doctor "$@"

# show each trial, its memory and time; train nothing
[group: 'sweeps']
[no-exit-message]
plan *arguments: _setup
    @{{ python }} -m pipeline plan "$@"

# show which trials are done, running or failed
[group: 'sweeps']
[no-exit-message]
status *arguments: _setup
    @{{ python }} -m pipeline status "$@"

# let the running trials of one row save and end
[group: 'sweeps']
[no-exit-message]
stop *arguments: _setup
    @{{ python }} -m pipeline stop "$@"

# delete the runs and checkpoints of one row
[group: 'sweeps']
[no-exit-message]
drop *arguments: _setup
    @{{ python }} -m pipeline drop "$@"

# show what takes disk space; remove what is named
[group: 'sweeps']
[no-exit-message]
clean *arguments: _setup
    @{{ python }} -m pipeline clean "$@"

# write a sweep of the best samples of a search
[group: 'sweeps']
[no-exit-message]
promote *arguments: _setup
    @{{ python }} -m pipeline promote "$@"

# write the report again from MLflow
[group: 'sweeps']
[no-exit-message]
tables *arguments: _setup
    @{{ python }} -m pipeline tables "$@"

# compare two sweeps, tasks or result versions
[group: 'sweeps']
[no-exit-message]
compare *arguments: _setup
    @{{ python }} -m pipeline compare "$@"

# serve MLflow's UI, and show each sweep's view
[group: 'sweeps']
[no-exit-message]
ui *arguments: _setup
    @{{ python }} -m pipeline ui "$@"

# serve records to this or other machines
[group: 'sweeps']
[no-exit-message]
server *arguments: _setup
    @{{ python }} -m pipeline server "$@"

# copy all records of a store into another one
[group: 'sweeps']
[no-exit-message]
migrate *arguments: _setup
    @{{ python }} -m pipeline migrate "$@"

# download a data set, or make it from your copy
[group: 'machine and data']
[no-exit-message]
data *arguments: _setup
    @{{ python }} -m pipeline data "$@"

# train one trial in this process, without Ray
[group: 'one model']
[no-exit-message]
train *arguments: _setup
    @{{ python }} -m pipeline train "$@"

# score a trial, a checkpoint or a folder of images
[group: 'one model']
[no-exit-message]
evaluate *arguments: _setup
    @{{ python }} -m pipeline evaluate "$@"

# translate an image or a folder of images
[group: 'one model']
[no-exit-message]
translate *arguments: _setup
    @{{ python }} -m pipeline translate "$@"

# write networks for the reference code or as ONNX
[group: 'one model']
[no-exit-message]
export *arguments: _setup
    @{{ python }} -m pipeline export "$@"

# measure what a part of the work costs here
[group: 'machine and data']
[no-exit-message]
bench *arguments: _setup
    @{{ python }} -m pipeline bench "$@"

# write the generated tables of the documents
[group: 'development']
[no-exit-message]
docs *arguments: _setup
    @{{ python }} -m pipeline docs "$@"

# check style, types, order of packages, spelling
[group: 'development']
check: _setup
    {{ python }} -m ruff check .
    {{ python }} -m ruff format --check .
    .venv/bin/lint-imports
    .venv/bin/codespell
    {{ python }} -m pyright

# look for known vulnerabilities of the packages
[group: 'development']
audit: _setup
    @{{ python }} .ci/audit

# run the fast tests; -m slow runs the slow ones
[group: 'development']
[no-exit-message]
test *options: _setup
    @{{ python }} -m pytest --numprocesses auto --dist worksteal "$@"

# write requirements.lock with the newest versions
[group: 'development']
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

# Creates .venv on first use, and again after pyproject.toml or requirements.lock changed.
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
        echo "error: Python 3.11, 3.12 or 3.13 is not on the PATH. Install one of them." >&2
        exit 2
    fi
    echo "Creating .venv with $("$found" --version): about 7 GB, a few minutes on a fast network." >&2
    rm -f .venv/made-from
    "$found" -m venv .venv
    echo "  installing the packages of requirements.lock …" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
    echo "  installing the project …" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
    echo "$wanted" > .venv/made-from
