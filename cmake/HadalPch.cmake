# SPDX-License-Identifier: Apache-2.0
# Precompiled headers. Parsing the standard library and Abseil takes longer than compiling most of our files, so targets share
# a few sets of library headers. Our own headers are in none of them, and sources include what they use all the same, which
# tests/arch/check_includes.py checks.
option(HADAL_PCH "Precompile library headers" ON)

set(HADAL_PCH_CORE
  <algorithm> <atomic> <cstdint> <functional> <map> <memory> <optional> <string> <string_view> <utility> <variant> <vector>
  <absl/status/status.h> <absl/status/statusor.h> <absl/strings/str_cat.h> <absl/strings/string_view.h> <absl/types/span.h>)
set(HADAL_PCH_SERVER ${HADAL_PCH_CORE}
  <deque> <thread> <absl/strings/str_format.h> <absl/time/clock.h> <absl/time/time.h>)
set(HADAL_PCH_HTTP ${HADAL_PCH_SERVER}
  <boost/asio.hpp>)
set(HADAL_PCH_GRPC ${HADAL_PCH_SERVER}
  <grpcpp/grpcpp.h> <grpcpp/support/server_callback.h>)
set(HADAL_PCH_TEST ${HADAL_PCH_SERVER}
  <gmock/gmock.h> <gtest/gtest.h> <nlohmann/json.hpp>)

# Test code is compiled without optimisation, which takes a third less time; the code under test keeps its options. Not for
# ThreadSanitizer: small functions of the standard library that are not inlined are instrumented, and gRPC's library, which is
# not, would take the copies of the test program.
set(HADAL_TEST_OPTIONS "")
if(NOT HADAL_SANITIZE MATCHES "thread")
  set(HADAL_TEST_OPTIONS $<$<COMPILE_LANGUAGE:CXX>:-O0>)
endif()

# hadal_pch(SET EXECUTABLE libs...): the carrier of one set. GCC takes a precompiled header only for the -fPIC or -fPIE and for
# the optimisation level that it was made with, so libraries and test programs cannot share one.
function(hadal_pch set)
  cmake_parse_arguments(ARG "EXECUTABLE" "" "" ${ARGN})
  string(TOUPPER ${set} headers)
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/pch/${set}.cc" CONTENT "// Carries the precompiled headers of this set.\n")
  add_library(hadal_pch_${set} OBJECT "${CMAKE_BINARY_DIR}/pch/${set}.cc")
  if(ARG_EXECUTABLE)
    set_target_properties(hadal_pch_${set} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(hadal_pch_${set} PRIVATE -fPIE -pthread ${HADAL_TEST_OPTIONS})
  endif()
  target_link_libraries(hadal_pch_${set} PRIVATE ${ARG_UNPARSED_ARGUMENTS})
  target_precompile_headers(hadal_pch_${set} PRIVATE ${HADAL_PCH_${headers}})
endfunction()

# hadal_use_pch(TARGET SET): CORE, SERVER, HTTP or GRPC for libraries, TEST for test programs, NONE for no precompiled headers.
# GCC 12 crashes over headers that were made at another optimisation level: sources with options of their own take none.
function(hadal_use_pch target set)
  if(NOT HADAL_PCH OR set STREQUAL "NONE")
    return()
  endif()
  string(TOLOWER ${set} carrier)
  target_precompile_headers(${target} REUSE_FROM hadal_pch_${carrier})
endfunction()

if(HADAL_PCH)
  hadal_pch(core absl::status absl::statusor absl::strings absl::span)
  if(HADAL_SERVER)
    hadal_pch(server absl::status absl::statusor absl::strings absl::str_format absl::time absl::span)
    hadal_pch(http absl::status absl::statusor absl::strings absl::str_format absl::time absl::span Boost::headers Threads::Threads)
    hadal_pch(grpc absl::status absl::statusor absl::strings absl::str_format absl::time absl::span gRPC::grpc++)
  endif()
  if(HADAL_TESTS)
    hadal_pch(test EXECUTABLE absl::status absl::statusor absl::strings absl::str_format absl::time absl::span GTest::gmock GTest::gtest nlohmann_json::nlohmann_json)
  endif()
endif()
