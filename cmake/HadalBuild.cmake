# SPDX-License-Identifier: Apache-2.0
# Compiler settings and the functions that every folder uses to declare its targets.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set_property(GLOBAL PROPERTY USE_FOLDERS ON)

find_program(HADAL_CCACHE ccache)
if(HADAL_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${HADAL_CCACHE}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${HADAL_CCACHE}")
endif()
find_program(HADAL_MOLD mold)
if(HADAL_MOLD)
  add_link_options($<$<COMPILE_LANGUAGE:CXX>:-fuse-ld=mold>)
endif()

add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wall> $<$<COMPILE_LANGUAGE:CXX>:-Wextra>
                    $<$<COMPILE_LANGUAGE:CXX>:-Wno-unused-parameter>
                    $<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-field-initializers>)
if(HADAL_SANITIZE)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${HADAL_SANITIZE}> -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${HADAL_SANITIZE})
  if(HADAL_SANITIZE MATCHES "thread")
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-tsan>)  # GCC warns of Asio's fences; its locks order them, too
    # Protobuf's map fields have another layout where the compiler says that it instruments, and Debian's library was not built
    # so. The standard library must know it all the same, or shared_ptr takes a short cut that ThreadSanitizer reports. In all
    # sources, because they share precompiled headers.
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-U__SANITIZE_THREAD__> $<$<COMPILE_LANGUAGE:CXX>:-D_GLIBCXX_TSAN=1>)
  endif()
endif()

# The sanitizer presets and scripts/serve compile a library's sources in batches, in half the time: most of it goes into the same
# headers and templates. The other presets compile each source by itself, so that a change costs one compilation. In a batch the
# sources share one anonymous namespace; tests/arch/check_batches.py finds names that a library has twice.
option(HADAL_UNITY "Compile the sources of a library in batches" OFF)

# hadal_library(NAME x HDRS a.h SRCS a.cc DEPS public_deps PRIVATE_DEPS private_deps PCH set SEPARATE b.cc)
# Declares the static library hadal_x with the alias hadal::x. Sources are listed by name; without SRCS it is header-only.
# PCH names a set of cmake/HadalPch.cmake; without it, SERVER below server/ and CORE elsewhere. SEPARATE names the sources that
# share names with others and so stay out of the batches of HADAL_UNITY.
function(hadal_library)
  cmake_parse_arguments(ARG "" "NAME;PCH" "HDRS;SRCS;SEPARATE;DEPS;PRIVATE_DEPS" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "hadal_library(${ARG_NAME}): unknown arguments ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  set(target hadal_${ARG_NAME})
  if(ARG_SRCS)
    add_library(${target} STATIC ${ARG_SRCS} ${ARG_HDRS})
    if(HADAL_UNITY AND NOT ARG_PCH STREQUAL "NONE")
      set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
      target_compile_options(${target} PRIVATE -Wno-subobject-linkage)  # GCC takes a source in a batch for a header
      set_source_files_properties(${ARG_SEPARATE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endif()
    target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
    target_link_libraries(${target} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
    if(NOT ARG_PCH AND "${CMAKE_CURRENT_SOURCE_DIR}" MATCHES "/server/")
      set(ARG_PCH SERVER)
    elseif(NOT ARG_PCH)
      set(ARG_PCH CORE)
    endif()
    hadal_use_pch(${target} ${ARG_PCH})
  else()
    add_library(${target} INTERFACE ${ARG_HDRS})
    target_include_directories(${target} INTERFACE "${CMAKE_SOURCE_DIR}")
    target_link_libraries(${target} INTERFACE ${ARG_DEPS})
  endif()
  add_library(hadal::${ARG_NAME} ALIAS ${target})
endfunction()

# hadal_vectorized(sources...): sources of the current folder whose loops want -O3. The sanitizer presets compile them like others.
function(hadal_vectorized)
  if(NOT HADAL_SANITIZE)
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -O3 SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()

# hadal_glue(sources...): sources of the current folder with the inline code of gRPC's headers and no locking of ours. ThreadSanitizer
# leaves them alone, for the order that it would want to see is kept inside gRPC's library, which is not instrumented.
function(hadal_glue)
  if(HADAL_SANITIZE MATCHES "thread")
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -fno-sanitize=thread SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()

# hadal_embed(OUTPUT x.cc HEADER a/b.h FOLDER dir FILES a b): a source in the build folder that defines hadal::http::PageFiles of HEADER with
# the names, contents and SHA-256 of the files; made again when one of them changes.
function(hadal_embed)
  cmake_parse_arguments(ARG "" "OUTPUT;HEADER;FOLDER" "FILES" ${ARGN})
  set(folder "${CMAKE_CURRENT_SOURCE_DIR}/${ARG_FOLDER}")
  set(script "${CMAKE_SOURCE_DIR}/cmake/embed_files.cmake")
  list(JOIN ARG_FILES "," names)
  list(TRANSFORM ARG_FILES PREPEND "${folder}/" OUTPUT_VARIABLE paths)
  add_custom_command(OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/${ARG_OUTPUT}"
    COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${CMAKE_CURRENT_BINARY_DIR}/${ARG_OUTPUT}" "-DHEADER=${ARG_HEADER}" "-DFOLDER=${folder}"
            "-DFILES=${names}" -P "${script}"
    DEPENDS ${paths} "${script}" VERBATIM)
  # scripts/lib/thread_safety.py takes what lies in the build folder and has precompiled headers for the carrier of their set.
  set_source_files_properties("${CMAKE_CURRENT_BINARY_DIR}/${ARG_OUTPUT}" PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# hadal_binary(NAME x OUTPUT y SRCS main.cc DEPS libs)
function(hadal_binary)
  cmake_parse_arguments(ARG "" "NAME;OUTPUT" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS})
  if(ARG_OUTPUT)
    set_target_properties(${ARG_NAME} PROPERTIES OUTPUT_NAME ${ARG_OUTPUT} RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
  endif()
endfunction()

# What scripts/test builds with sanitizers: all tests that carry the label asan or tsan.
add_custom_target(hadal_asan_tests)
add_custom_target(hadal_tsan_tests)
add_custom_target(hadal_gpu_tests)

# hadal_test(NAME x SRCS x_test.cc DEPS libs LABELS unit TIMEOUT 60 ENVIRONMENT A=b)
# One CTest entry for each binary (discovery of single cases would start hundreds of processes).
# Labels: unit, e2e, gpu, slow; asan and tsan mark what scripts/test runs under sanitizers too. A name with "mutation" or
# "fuzz" gets the label asan without asking. tsan is for tests with threads: one on a virtual clock in a single thread costs
# its compilation there and shows nothing.
function(hadal_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "SRCS;DEPS;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(HADAL_SANITIZE)
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 5")  # instrumented code runs several times slower
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(ARG_NAME MATCHES "mutation|fuzz")
    list(APPEND ARG_LABELS asan)
  endif()
  list(REMOVE_DUPLICATES ARG_LABELS)
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_options(${ARG_NAME} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-pthread> ${HADAL_TEST_OPTIONS})  # as the precompiled headers
  hadal_use_pch(${ARG_NAME} TEST)
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME})
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "HADAL_SOURCE_DIR=${CMAKE_SOURCE_DIR};${ARG_ENVIRONMENT}"
    WORKING_DIRECTORY "${CMAKE_BINARY_DIR}")
  foreach(label asan tsan gpu)
    if(label IN_LIST ARG_LABELS)
      add_dependencies(hadal_${label}_tests ${ARG_NAME})
    endif()
  endforeach()
endfunction()

# hadal_test_library(NAME x SRCS fixture.cc DEPS libs): what several test programs stand on, as hadal::x, compiled once.
function(hadal_test_library)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  hadal_add_test_code(hadal_${ARG_NAME} STATIC ${ARG_SRCS})
  target_link_libraries(hadal_${ARG_NAME} PUBLIC ${ARG_DEPS} GTest::gmock)
  add_library(hadal::${ARG_NAME} ALIAS hadal_${ARG_NAME})
endfunction()

# hadal_test_objects(NAME x SRCS x_test.cc DEPS libs): test sources that several programs take as $<TARGET_OBJECTS:x>, compiled once.
function(hadal_test_objects)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  hadal_add_test_code(${ARG_NAME} OBJECT ${ARG_SRCS})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gmock)
endfunction()

# hadal_add_test_code(TARGET STATIC|OBJECT sources): a library of test code, compiled as in a program, so that the test set of precompiled headers fits.
function(hadal_add_test_code target kind)
  add_library(${target} ${kind} ${ARGN})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE -fPIE -pthread ${HADAL_TEST_OPTIONS})
  target_include_directories(${target} PRIVATE "${CMAKE_SOURCE_DIR}")
  hadal_use_pch(${target} TEST)
endfunction()

# hadal_benchmark(NAME x SRCS bench_x.cc DEPS libs): Google Benchmark binary under benchmarks/ in the build folder.
function(hadal_benchmark)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} benchmark::benchmark)
endfunction()
