#!/usr/bin/env bash
# Usage: tools/dev/run_mmyolo_tests.sh CHECKOUT_OF_MMYOLO [pytest options]
# Runs mmyolo's own tests of models, engine and data sets with dsym's compat
# loaded. The checkout (tag v0.6.0) is what is tested: its tests read configs
# that lie beside it. docs/compat.md says what to expect.
set -euo pipefail

if [ $# -lt 1 ] || [ ! -d "$1/tests/test_models" ]; then
    sed -n '2s/^# //p' "$0" >&2
    exit 2
fi
projects=$(cd "$(dirname "$0")/../../projects" && pwd)
python=${PYTHON:-$projects/../.venv/bin/python}
case $python in */*) python=$(realpath -s "$python") ;; esac
cd "$1"
shift
# mmyolo's pytest.ini asks for xdoctest, hence no configuration file.
exec env PYTHONPATH="$PWD:$projects" "$python" -m pytest \
    -p dsym.compat -p no:cacheprovider -c /dev/null --rootdir "$PWD" \
    tests/test_models tests/test_engine tests/test_datasets "$@"
