#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/clients/schemathesis.sh [ARGUMENT...]: draws requests from docs/openapi.yaml, good and bad
# ones, and fails on a status, type or body that it does not describe, and on any 5xx. Needs PyPI the
# first time; the packages are pinned with their hashes. Arguments go to `schemathesis run`.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=${SKVIS_CLIENTS_VENV:-build/clients-venv}
requirements=tests/clients/requirements.txt
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --require-hashes -r "$requirements"
  cp "$requirements" "$venv/requirements.txt"
fi

log=$(mktemp)
build/skvis serve --model models/tiny --port 0 --kv-memory 256MiB \
  --ctx-size 256 --default-max-tokens 16 2>"$log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; rm -f "$log"' EXIT
for _ in {1..300}; do
  url=$(grep -o 'at http://127.0.0.1:[0-9]*' "$log" || true)
  [[ -z $url ]] || break
  kill -0 "$server" 2>/dev/null || { cat "$log" >&2; exit 1; }
  sleep 0.1
done
[[ -n $url ]] || { echo "schemathesis: the server did not start within 30 s" >&2; exit 1; }

# Which valid requests a model accepts (ids of its vocabulary, texts its template takes) no schema
# says; that invalid ones are refused is checked.
checks=not_a_server_error,status_code_conformance,content_type_conformance
checks+=,response_headers_conformance,response_schema_conformance,unsupported_method
checks+=,negative_data_rejection
cd "$venv"  # where it leaves what it found
bin/schemathesis run "${url#at }/openapi.json" --checks "$checks" --max-examples 30 \
  --request-timeout 60 --no-color "$@"
