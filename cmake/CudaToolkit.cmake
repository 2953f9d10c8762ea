# SPDX-License-Identifier: Apache-2.0
# The CUDA language, the toolkit's libraries and the FlashInfer headers (scripts/bootstrap --cuda). Only with HADAL_CUDA.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(HADAL_NVCC nvcc HINTS /usr/local/cuda/bin)
  if(NOT HADAL_NVCC)
    message(FATAL_ERROR "HADAL_CUDA needs nvcc of the CUDA 13 toolkit; it is neither in PATH nor in /usr/local/cuda/bin")
  endif()
  set(CMAKE_CUDA_COMPILER "${HADAL_NVCC}")
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90a)
endif()
enable_language(CUDA)
find_package(CUDAToolkit 13.0 REQUIRED)
set(CMAKE_CUDA_STANDARD 17)  # what CMake 3.25 can ask of nvcc
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # one runtime for kernels and host code

# FlashInfer's headers come with a CCCL that is newer than the toolkit's, so its folders stand first. They are -isystem for the
# host compiler's warnings; nvcc puts its own CCCL behind every folder that is named.
set(HADAL_FLASHINFER "${HADAL_THIRD_PARTY}/flashinfer")
if(NOT EXISTS "${HADAL_FLASHINFER}/include/flashinfer/attention/mla.cuh")
  message(FATAL_ERROR "HADAL_CUDA needs the FlashInfer headers in ${HADAL_FLASHINFER}: run scripts/bootstrap --cuda")
endif()
add_library(hadal_flashinfer INTERFACE)
target_include_directories(hadal_flashinfer SYSTEM INTERFACE
  "${HADAL_FLASHINFER}/cccl/libcudacxx/include" "${HADAL_FLASHINFER}/cccl/thrust" "${HADAL_FLASHINFER}/cccl/cub"
  "${HADAL_FLASHINFER}/include" "${HADAL_FLASHINFER}/cutlass/include")
target_compile_options(hadal_flashinfer INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>)
