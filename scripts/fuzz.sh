#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/fuzz.sh SECONDS [TARGET...]: builds the fuzz targets and runs each for that long. New inputs
# are kept in build-fuzz/corpus/<target>; an input that breaks something is named and stops the run.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
shift
scripts/setup.sh fuzz
cmake --preset fuzz
cmake --build build-fuzz -j "${NPROC:-$(nproc)}" --target fuzzers

programs=("$@")
[[ ${#programs[@]} -gt 0 ]] || programs=(build-fuzz/fuzz/fuzz_*)
for program in "${programs[@]}"; do
  name=${program##*/}
  corpus=build-fuzz/corpus/$name
  mkdir -p "$corpus" build-fuzz/findings
  seeds=()
  [[ ! -d fuzz/seeds/$name ]] || seeds=("fuzz/seeds/$name")
  echo "== $name for $seconds s"
  "build-fuzz/fuzz/$name" "$corpus" "${seeds[@]}" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 -artifact_prefix=build-fuzz/findings/
done
echo "every target ran $seconds s without a finding"
