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
