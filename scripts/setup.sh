#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that are missing: scripts/setup.sh GROUP..., where a group is build,
# fuzz, tools or make. Nothing missing costs one dpkg-query. SKVIS_SKIP_SETUP=1 trusts the caller.
set -euo pipefail

build=(g++ cmake ninja-build git ca-certificates libhwy-dev libboost1.81-dev
  nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev libpcre2-dev libicu-dev libxxhash-dev
  libgtest-dev libgmock-dev libeigen3-dev prometheus-cpp-dev python3 python3-pip unzip curl libssl-dev)
fuzz=(clang-14 libclang-rt-14-dev)
tools=(clang-format-14 clang-tidy-14)
make=(make)

[[ ${SKVIS_SKIP_SETUP:-0} != 1 ]] || exit 0

wanted=()
for group in "${@:-build}"; do
  case $group in
    build) wanted+=("${build[@]}") ;;
    fuzz) wanted+=("${build[@]}" "${fuzz[@]}") ;;
    tools) wanted+=("${tools[@]}") ;;
    make) wanted+=("${make[@]}") ;;
    *) echo "setup: group '$group' is unknown, expected build, fuzz, tools or make" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  cat >&2 <<EOF
setup: this is not a Debian system (dpkg-query or apt-get is missing); packages are known for
Debian 12 only. Install what these packages hold by your system's own means, then run the command
again with SKVIS_SKIP_SETUP=1:
  ${wanted[*]}
EOF
  exit 1
fi

installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
missing=()
for package in "${wanted[@]}"; do
  grep -qxF "$package installed" <<<"$installed" || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

update=(apt-get update -q)
install=(apt-get install -y --no-install-recommends "${missing[@]}")
as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
    cat >&2 <<EOF
setup: ${#missing[@]} Debian packages are missing and this user may not install them. As root, run:
  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}
EOF
    exit 1
  fi
  as_root=(sudo -n)
fi

echo "setup: installing ${#missing[@]} missing Debian packages: ${missing[*]}"
as_root+=(env DEBIAN_FRONTEND=noninteractive)
"${as_root[@]}" "${update[@]}" </dev/null
"${as_root[@]}" "${install[@]}" -o DPkg::Lock::Timeout=300 </dev/null
echo "setup: done"
