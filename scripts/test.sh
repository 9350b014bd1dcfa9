#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/test.sh PRESET [ROOM...]: sets up, builds and tests; with rooms, only their tests. The last
# line of output is "N passed, N failed[, N skipped]", whatever happens before.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=$1
shift
rooms=("$@")
jobs=${NPROC:-$(nproc)}
build=build
[[ $preset == release ]] || build=build-$preset

step="set-up"
tested=no
close() {
  local status=$?
  if [[ $tested == no && $status -ne 0 ]]; then
    echo
    echo "The $step failed; no test ran, and it counts as the one failure."
    echo "0 passed, 1 failed"
  fi
}
trap close EXIT

# GCC 12's ThreadSanitizer does not know the wider address randomisation of recent kernels.
launch=()
if [[ $preset == tsan ]] && setarch "$(uname -m)" -R true 2>/dev/null; then
  launch=(setarch "$(uname -m)" -R)
fi

# Test programs of the rooms asked for; a room without tests is no error.
targets=()
labels=()
for room in "${rooms[@]}"; do
  if compgen -G "tests/$room/*.cpp" >/dev/null; then
    targets+=("test_$room")
    labels+=("$room")
  fi
done

scripts/setup.sh build
step="build"
cmake --preset "$preset"
if [[ ${#targets[@]} -gt 0 ]]; then
  "${launch[@]}" cmake --build "$build" -j "$jobs" --target "${targets[@]}"
else
  "${launch[@]}" cmake --build "$build" -j "$jobs"
fi

step="model fetch"
status=0
scripts/fetch_model.sh || status=$?
if [[ $status -eq 3 ]]; then
  echo "The default model is not here: tests of it are skipped, or fail where CI=true." >&2
elif [[ $status -ne 0 ]]; then
  exit "$status"
fi

step="test run"
select=()
if [[ ${#labels[@]} -gt 0 ]]; then
  select=(-L "^($(IFS='|'; echo "${labels[*]}"))$")
fi
tested=yes
"${launch[@]}" python3 scripts/run_tests.py "$build" -j 2 "${select[@]}"
