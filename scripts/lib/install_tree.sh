#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/lib/install_tree.sh BUILD_DIR OUT
#
# Lays out what a runtime image needs: OUT/hadal/{bin,lib,models/demo,LICENSE,NOTICE} and OUT/runtime-packages, the Debian
# packages that own the shared libraries of the binary, and of those that it opens when asked: libzmq5 for --kv-events, libcurl4 for
# --fallback-upstream and hadal batch. Libraries without a package (the CUDA ones) go to OUT/hadal/lib, where the binary looks for them (its rpath);
# the end checks that it finds them all, and those there.

set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# = 2 ] || { help_of "$0"; exit 2; }
build=$1 out=$2

mkdir -p "$out/hadal/lib" "$out/hadal/models"
cmake --install "$build" --component hadal --prefix "$out/hadal" --strip >/dev/null  # with the rpath of an installed binary
install -m 644 "$root/LICENSE" "$root/NOTICE" "$out/hadal/"
cp -r "$root/models/demo" "$out/hadal/models/demo"

mapfile -t libraries < <(ldd "$build/hadal" | awk '$3 ~ /^\// {print $3}')
# /lib is a link to /usr/lib, and dpkg knows a file by the one name it was packed under. It is asked once: it reads every package's list.
names_of() {
  local real
  real=$(realpath "$1")
  printf '%s\n' "$1" "$real" "${real#/usr}"
}
mapfile -t names < <(for library in "${libraries[@]}"; do names_of "$library"; done | sort -u)
declare -A owners
# Lines are "package:architecture: path", of some packages "package: path".
while read -r package path; do
  owners[$path]=${package%%:*}
done < <(dpkg-query -S "${names[@]}" 2>/dev/null || true)

: >"$out/packages"
for library in "${libraries[@]}"; do
  owner=
  while read -r name; do owner=${owner:-${owners[$name]:-}}; done < <(names_of "$library")
  case $library:$owner in
    *libcuda.so*) ;; # the driver's, from the host
    *:) cp -L "$library" "$out/hadal/lib/" ;;
    *) echo "$owner" >>"$out/packages" ;;
  esac
done
{ { cat "$out/packages"; printf '%s\n' libzmq5 libcurl4; } | sort -u; echo ca-certificates; } >"$out/runtime-packages"
rm "$out/packages"

found=$(ldd "$out/hadal/bin/hadal")
! grep 'not found' <<<"$found" >&2 || die "$out/hadal/bin/hadal does not find all of its libraries"
for library in "$out"/hadal/lib/*; do
  [ -e "$library" ] || continue
  grep -qF "/bin/../lib/${library##*/} " <<<"$found" || die "the binary does not take ${library##*/} from $out/hadal/lib"
done
