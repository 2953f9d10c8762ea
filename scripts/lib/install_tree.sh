#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/lib/install_tree.sh BUILD_DIR OUT
#
# Lays out what a runtime image needs: OUT/hadal/{bin,lib,models/demo,LICENSE,NOTICE} and OUT/runtime-packages, the Debian
# packages that own the shared libraries of the binary. Libraries without a package (the CUDA ones) go to OUT/hadal/lib.

set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# = 2 ] || { help_of "$0"; exit 2; }
build=$1 out=$2

mkdir -p "$out/hadal/bin" "$out/hadal/lib" "$out/hadal/models"
install -m 755 --strip "$build/hadal" "$out/hadal/bin/hadal"
install -m 644 "$root/LICENSE" "$root/NOTICE" "$out/hadal/"
cp -r "$root/models/demo" "$out/hadal/models/demo"

: >"$out/packages"
while read -r library; do
  # /lib is a link to /usr/lib, and dpkg knows a file by the one name it was packed under.
  real=$(realpath "$library")
  owner=$(dpkg-query -S "$library" "$real" "${real#/usr}" 2>/dev/null | head -n 1 | cut -d: -f1 || true)
  case $library:$owner in
    *libcuda.so*) ;; # the driver's, from the host
    *:) cp -L "$library" "$out/hadal/lib/" ;;
    *) echo "$owner" >>"$out/packages" ;;
  esac
done < <(ldd "$build/hadal" | awk '$3 ~ /^\// {print $3}')
{ sort -u "$out/packages"; echo ca-certificates; } >"$out/runtime-packages"
rm "$out/packages"
