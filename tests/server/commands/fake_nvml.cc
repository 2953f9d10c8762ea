// SPDX-License-Identifier: Apache-2.0
//
// A library with NVML's interface, for one Hopper GPU at 0000:65:00.0 with three processes and two clients of MPS, on
// which two critical errors have happened.
#include <cstring>

namespace {
int device, events, errors = 2;
constexpr int kNotFound = 6, kInsufficientSize = 7, kTimeout = 10;
constexpr unsigned long long kXids[] = {43, 31};
}  // namespace

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }

int nvmlDeviceGetHandleByPciBusId_v2(const char* id, void** handle) {
  *handle = &device;
  return std::strcmp(id, "0000:65:00.0") == 0 ? 0 : kNotFound;
}

int nvmlDeviceGetUtilizationRates(void* handle, unsigned* rates) {
  rates[0] = 75;
  rates[1] = 40;
  return handle == &device ? 0 : kNotFound;
}

int nvmlDeviceGetMemoryInfo(void*, unsigned long long* memory) {
  memory[0] = 1000;
  memory[1] = 400;
  memory[2] = 600;
  return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void*, unsigned* count, void* infos) {
  *count = 3;
  return infos == nullptr ? kInsufficientSize : 0;
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(void*, unsigned* count, void* infos) {
  *count = 2;
  return infos == nullptr ? kInsufficientSize : 0;
}

int nvmlDeviceGetClockInfo(void*, int kind, unsigned* megahertz) {
  *megahertz = kind == 1 ? 1980 : 0;
  return 0;
}

int nvmlDeviceGetNumGpuCores(void*, unsigned* cores) {
  *cores = 132 * 128;
  return 0;
}

int nvmlDeviceGetCudaComputeCapability(void*, int* major, int* minor) {
  *major = 9;
  *minor = 0;
  return 0;
}

int nvmlEventSetCreate(void** set) {
  *set = &events;
  return 0;
}
int nvmlEventSetFree(void*) { return 0; }
int nvmlDeviceRegisterEvents(void*, unsigned long long types, void*) { return types == 8 ? 0 : kNotFound; }

int nvmlEventSetWait_v2(void*, void* data, unsigned) {
  if (errors == 0) return kTimeout;
  --errors;
  const unsigned long long type_and_data[] = {8, kXids[errors]};
  std::memcpy(static_cast<char*>(data) + sizeof(void*), type_and_data, sizeof(type_and_data));
  return 0;
}

}  // extern "C"
