# SPDX-License-Identifier: Apache-2.0
# The headers and libraries of the torch wheel: from scripts/bootstrap --torch, or from the environment of the tests. Only with
# HADAL_TORCH.
set(HADAL_TORCH_DIR "" CACHE PATH "Folder 'torch' of an installed torch wheel; empty: found below HADAL_THIRD_PARTY")
set(HADAL_TORCH_FOUND "${HADAL_TORCH_DIR}")
if(NOT HADAL_TORCH_FOUND)
  file(GLOB HADAL_TORCH_FOLDERS "${HADAL_THIRD_PARTY}/torch/torch" "${HADAL_THIRD_PARTY}/venv/lib/python3*/site-packages/torch"
       "$ENV{HADAL_VENV}/lib/python3*/site-packages/torch")
  list(GET HADAL_TORCH_FOLDERS 0 HADAL_TORCH_FOUND)
endif()
if(NOT EXISTS "${HADAL_TORCH_FOUND}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "HADAL_TORCH needs the torch wheel, and there is none in '${HADAL_TORCH_FOUND}': run scripts/bootstrap --torch, or set HADAL_TORCH_DIR")
endif()
add_library(hadal_libtorch INTERFACE)
target_include_directories(hadal_libtorch SYSTEM INTERFACE "${HADAL_TORCH_FOUND}/include")
target_link_libraries(hadal_libtorch INTERFACE "${HADAL_TORCH_FOUND}/lib/libtorch_cpu.so" "${HADAL_TORCH_FOUND}/lib/libc10.so")
