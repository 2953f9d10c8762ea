# SPDX-License-Identifier: Apache-2.0
# The client by itself, without the server: for add_subdirectory(hadal/client) in another project, and for
# `cmake -S client -B build && cmake --build build && cmake --install build`, after which find_package(hadal_client) finds it.
# Either way a program links hadal::client and includes "client/client.h".
get_filename_component(HADAL_ROOT "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
include(GNUInstallDirs)

# As cmake/HadalBuild.cmake's, for the folders that the client needs.
function(hadal_library)
  cmake_parse_arguments(ARG "" "NAME;PCH;FOLDER" "HDRS;SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  if(NOT ARG_FOLDER)
    set(ARG_FOLDER "${CMAKE_CURRENT_LIST_DIR}")
  endif()
  set(target hadal_${ARG_NAME})
  set(scope PUBLIC)
  if(ARG_SRCS)
    list(TRANSFORM ARG_SRCS PREPEND "${ARG_FOLDER}/")
    add_library(${target} STATIC ${ARG_SRCS})
    target_link_libraries(${target} PRIVATE ${ARG_PRIVATE_DEPS})
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  else()
    set(scope INTERFACE)
    add_library(${target} INTERFACE)
  endif()
  target_compile_features(${target} ${scope} cxx_std_20)
  target_include_directories(${target} ${scope} "$<BUILD_INTERFACE:${HADAL_ROOT}>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/hadal>")
  target_link_libraries(${target} ${scope} ${ARG_DEPS})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${ARG_NAME})
  add_library(hadal::${ARG_NAME} ALIAS ${target})
  install(TARGETS ${target} EXPORT hadal_client)
endfunction()

set(generated "${CMAKE_CURRENT_BINARY_DIR}/generated")
file(MAKE_DIRECTORY "${generated}")
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
set(outputs)
foreach(proto batches inference)
  foreach(ending pb.cc pb.h grpc.pb.cc grpc.pb.h)
    list(APPEND outputs "${generated}/hadal/v1/${proto}.${ending}")
  endforeach()
endforeach()
add_custom_command(
  OUTPUT ${outputs}
  COMMAND protobuf::protoc --cpp_out=${generated} --grpc_out=${generated} --plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN}
          -I ${HADAL_ROOT}/proto hadal/v1/batches.proto hadal/v1/inference.proto
  DEPENDS "${HADAL_ROOT}/proto/hadal/v1/batches.proto" "${HADAL_ROOT}/proto/hadal/v1/inference.proto"
  WORKING_DIRECTORY "${HADAL_ROOT}/proto"
  VERBATIM)
add_library(hadal_proto STATIC ${outputs})
target_compile_features(hadal_proto PUBLIC cxx_std_20)
target_include_directories(hadal_proto SYSTEM PUBLIC "$<BUILD_INTERFACE:${generated}>")
target_link_libraries(hadal_proto PUBLIC gRPC::grpc++ protobuf::libprotobuf)
set_target_properties(hadal_proto PROPERTIES EXPORT_NAME proto POSITION_INDEPENDENT_CODE ON)
add_library(hadal::proto ALIAS hadal_proto)
install(TARGETS hadal_proto EXPORT hadal_client)

hadal_library(NAME sync FOLDER "${HADAL_ROOT}/base" HDRS sync.h DEPS absl::base absl::time Threads::Threads)
hadal_library(NAME read_file FOLDER "${HADAL_ROOT}/base" HDRS read_file.h SRCS read_file.cc
              DEPS absl::status absl::statusor PRIVATE_DEPS absl::cleanup absl::strings)

# What programs may include.
foreach(header base/sync.h client/batch_client.h client/batch_coroutine.h client/batch_lines.h client/cache_options.h client/client.h client/complete_all.h client/coroutine.h client/generation_options.h client/generation_result.h client/hedging.h client/line.h client/message.h client/retry.h client/tokenize_options.h)
  get_filename_component(folder "${header}" DIRECTORY)
  install(FILES "${HADAL_ROOT}/${header}" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/hadal/${folder}")
endforeach()
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/hadal_client-config.cmake" [[
include(CMakeFindDependencyMacro)
foreach(package Threads absl Protobuf OpenSSL)
  find_dependency(${package})
endforeach()
find_dependency(gRPC CONFIG)
include("${CMAKE_CURRENT_LIST_DIR}/hadal_client-targets.cmake")
]])
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/hadal_client-config.cmake" DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/hadal_client")
install(EXPORT hadal_client NAMESPACE hadal:: FILE hadal_client-targets.cmake DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/hadal_client")
