# SPDX-License-Identifier: Apache-2.0
# cmake -D SOURCE=DIR -D OUT=FILE -P write_commit.cmake: writes BuildCommit() with the commit of the checkout DIR.
set(commit unknown)
execute_process(COMMAND git -C "${SOURCE}" rev-parse --short=12 HEAD OUTPUT_VARIABLE found RESULT_VARIABLE code
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(code EQUAL 0)
  set(commit "${found}")
  execute_process(COMMAND git -C "${SOURCE}" status --porcelain --untracked-files=no OUTPUT_VARIABLE changes ERROR_QUIET)
  if(NOT "${changes}" STREQUAL "")
    string(APPEND commit "+changes")
  endif()
endif()
file(CONFIGURE OUTPUT "${OUT}" CONTENT "// Written by write_commit.cmake.
#include \"benchmarks/hadal_bench/report/machine.h\"
namespace hadal::bench {
std::string BuildCommit() { return \"${commit}\"; }
}  // namespace hadal::bench
")
