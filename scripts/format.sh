#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formats every C++ file with the one version whose output is the house's; --check only looks.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v clang-format-14 >/dev/null; then
  echo "format: clang-format-14 is missing; scripts/setup.sh tools installs it" >&2
  exit 1
fi
mode=(-i)
[[ ${1:-} != --check ]] || mode=(--dry-run -Werror)
git ls-files -z --cached --others --exclude-standard '*.cpp' '*.hpp' |
  xargs -0 -r clang-format-14 "${mode[@]}"
