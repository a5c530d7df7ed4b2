set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

# MLflow's variable for the address of the records. Without it they are in a SQLite file in this folder.
export MLFLOW_TRACKING_URI := env("MLFLOW_TRACKING_URI", "sqlite:///" + justfile_directory() + "/mlflow.db")
python := ".venv/bin/python"

# list the recipes
default:
    @just --list --unsorted

# just sweep NAME [override …] [--quiet]: train what is not done, evaluate, record, write tables and report
[no-exit-message]
sweep *arguments: _setup
    @{{ python }} -m pipeline sweep "$@"

# just doctor [override …] [--json]: check this machine before a sweep
[no-exit-message]
doctor *arguments: _setup
    @{{ python }} -m pipeline doctor "$@"

# just plan NAME [override …] [--json] [--verbose]: show every trial, its state, predicted memory and time; train nothing
[no-exit-message]
plan *arguments: _setup
    @{{ python }} -m pipeline plan "$@"

# just status NAME [--json]: show which trials are done, running or failed
[no-exit-message]
status *arguments: _setup
    @{{ python }} -m pipeline status "$@"

# just drop NAME ROW [override …] [--yes]: delete the runs and checkpoints of one row
[no-exit-message]
drop *arguments: _setup
    @{{ python }} -m pipeline drop "$@"

# just promote NAME [override …] [--count N] [--to NAME]: write a sweep of the best samples of a search
[no-exit-message]
promote *arguments: _setup
    @{{ python }} -m pipeline promote "$@"

# just tables NAME [--task TASK] [--price-per-hour PRICE]: write tables, figures and report from MLflow
[no-exit-message]
tables *arguments: _setup
    @{{ python }} -m pipeline tables "$@"

# just compare NAME[/TASK][@VERSION] OTHER [--other-store URI]: compare two sweeps, tasks or result versions
[no-exit-message]
compare *arguments: _setup
    @{{ python }} -m pipeline compare "$@"

# just ui [PORT]: serve the MLflow UI on 127.0.0.1
[no-exit-message]
ui port="5000": _setup
    @case "$MLFLOW_TRACKING_URI" in http*) echo "The records are on the server of MLFLOW_TRACKING_URI. Open its address." && exit 1 ;; esac
    @echo "http://127.0.0.1:{{ port }} (stop with Ctrl-C)"
    @MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
        MLFLOW_BACKEND_STORE_URI="$MLFLOW_TRACKING_URI" {{ python }} -m mlflow server --host 127.0.0.1 --port {{ port }} --workers 1

# just data NAME [--from FOLDER]: download a data set, or make it from your copy
[no-exit-message]
data *arguments: _setup
    @{{ python }} -m pipeline data "$@"

# just train [override …]: train one trial in this process, without Ray
[no-exit-message]
train *arguments: _setup
    @{{ python }} -m pipeline train "$@"

# just evaluate WHAT [override …]: compute FID and KID of a trial, a checkpoint or a folder of images
[no-exit-message]
evaluate *arguments: _setup
    @{{ python }} -m pipeline evaluate "$@"

# just translate RUN INPUT OUTPUT: translate an image or a folder of images
[no-exit-message]
translate *arguments: _setup
    @{{ python }} -m pipeline translate "$@"

# just export RUN FOLDER: write the networks of a trial as files of the reference code
[no-exit-message]
export *arguments: _setup
    @{{ python }} -m pipeline export "$@"

# just bench step|pack|fid|data|sweep|tables [--json]: measure what a part of the work costs
[no-exit-message]
bench *arguments: _setup
    @{{ python }} -m pipeline bench "$@"

# just docs: write the generated tables of README.md and docs/performance.md
[no-exit-message]
docs *arguments: _setup
    @{{ python }} -m pipeline docs "$@"

# lint, types, the order of packages, spelling
check: _setup
    {{ python }} -m ruff check .
    {{ python }} -m ruff format --check .
    .venv/bin/lint-imports
    .venv/bin/codespell
    {{ python }} -m pyright

# known vulnerabilities of the packages (needs the network), and ruff's rules on unsafe code
audit: _setup
    {{ python }} -m ruff check .
    @{{ python }} .ci/audit

# just test [option of pytest …]: run the fast tests; just test -m slow runs the slow ones
[no-exit-message]
test *options: _setup
    @{{ python }} -m pytest --numprocesses auto --dist loadfile "$@"

# write requirements.lock with the newest versions that pyproject.toml allows
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
