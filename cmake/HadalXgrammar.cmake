# SPDX-License-Identifier: Apache-2.0
# xgrammar's C++ core as a static library, from the sources that scripts/bootstrap puts into .deps/xgrammar. Its warnings are
# its own; its log lines and failures go to models/grammar/xgrammar_log.cc.
set(HADAL_XGRAMMAR "${HADAL_THIRD_PARTY}/xgrammar")
if(NOT EXISTS "${HADAL_XGRAMMAR}/include/xgrammar/compiler.h")
  message(FATAL_ERROR "the xgrammar sources are not in ${HADAL_XGRAMMAR}: run scripts/bootstrap")
endif()
# As three sources instead of 28: most of the time went into the same headers. The converters of single models repeat names of
# the core, so they form a source of their own.
file(GLOB converters "${HADAL_XGRAMMAR}/cpp/converter_ext/*.cc")
file(GLOB core_first "${HADAL_XGRAMMAR}/cpp/[a-g]*.cc")
file(GLOB core_second "${HADAL_XGRAMMAR}/cpp/[h-z]*.cc" "${HADAL_XGRAMMAR}/cpp/support/*.cc")
foreach(group converters core_first core_second)
  set_source_files_properties(${${group}} PROPERTIES UNITY_GROUP ${group})
endforeach()
add_library(hadal_xgrammar STATIC ${converters} ${core_first} ${core_second})
target_include_directories(hadal_xgrammar SYSTEM PUBLIC "${HADAL_XGRAMMAR}/include"
  "${HADAL_XGRAMMAR}/3rdparty/dlpack/include" "${HADAL_XGRAMMAR}/3rdparty/picojson")
target_compile_definitions(hadal_xgrammar PUBLIC XGRAMMAR_LOG_CUSTOMIZE=1 XGRAMMAR_ENABLE_CPPTRACE=0 XGRAMMAR_ENABLE_INTERNAL_CHECK=0)
target_compile_options(hadal_xgrammar PRIVATE -w -g0)
if(HADAL_SANITIZE)  # instrumented it would take several minutes to compile
  target_compile_options(hadal_xgrammar PRIVATE -fno-sanitize=all)
endif()
set_target_properties(hadal_xgrammar PROPERTIES CXX_STANDARD 17 UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
