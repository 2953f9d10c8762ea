# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts of this folder: messages, limits of the machine, build settings. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
deps=$root/.deps

say() { printf 'hadal: %s\n' "$*" >&2; }
warn() { printf 'hadal: warning: %s\n' "$*" >&2; }
die() { printf 'hadal: error: %s\n' "$*" >&2; exit 1; }

# Print the comment block at the top of script $1 (from line 3 to the first blank line) as its help text.
help_of() { sed -n '3,/^$/s/^# \{0,1\}//p' "$1"; }

# The Python that tests and tools run in: HADAL_VENV, or what scripts/bootstrap --test made.
venv() { printf '%s' "${HADAL_VENV:-$deps/venv}"; }

# Compile jobs: one a core, but 2 GiB of memory for each, because gRPC and Boost headers are large.
jobs_of_machine() {
  local cores mem_kib by_mem
  cores=$(nproc)
  mem_kib=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
  by_mem=$((mem_kib / 2097152))
  [ "$by_mem" -ge 1 ] || by_mem=1
  echo $((cores < by_mem ? cores : by_mem))
}

# The compiler cache lives outside the checkout, so that a fresh clone builds in seconds.
use_ccache() {
  export CCACHE_DIR=${CCACHE_DIR:-${HADAL_CCACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hadal/ccache}}
  export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$root} CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-5G}
  export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
  export CCACHE_INODECACHE=1  # else the precompiled headers, 100 MB each, are hashed for every source
  mkdir -p "$CCACHE_DIR" 2>/dev/null || unset CCACHE_DIR
}

# configure PRESET [cmake options]: runs cmake only when the build folder is missing, another option is asked for, or the
# presets changed. Ninja itself runs cmake again when a CMakeLists.txt changed.
configure() {
  local preset=$1 dir stamp
  shift
  dir=$root/build/$preset
  stamp="$(cksum <"$root/CMakePresets.json") $*"
  if [ -f "$dir/build.ninja" ] && [ "$(cat "$dir/.configured" 2>/dev/null)" = "$stamp" ]; then return 0; fi
  mkdir -p "$dir"
  if ! (cd "$root" && cmake --preset "$preset" "$@") >"$dir/configure.log" 2>&1; then
    tail -n 25 "$dir/configure.log" >&2
    die "cmake could not configure build/$preset; the whole log is build/$preset/configure.log"
  fi
  printf '%s' "$stamp" >"$dir/.configured"
}
