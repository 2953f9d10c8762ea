// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/cuda/emulator/grid.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace hadal::kernels {
namespace cuda {
// What SharedMemory() of device.cuh names; guard bytes lie behind it.
alignas(16) unsigned char hadal_shared_memory[cuda_emulator::kSharedBytes + 4096];
}  // namespace cuda

namespace cuda_emulator {
namespace {

constexpr size_t kStackBytes = 64 * 1024;
constexpr size_t kGuardBytes = 256;
constexpr unsigned char kGuard = 0xC3;
constexpr unsigned kWarp = 32;

[[noreturn]] void Fail(const char* text) {
  std::fprintf(stderr, "CUDA emulator: %s\n", text);
  std::abort();
}

}  // namespace

// Saves the callee-saved registers of the running coroutine and continues the other one (System V x86-64).
extern "C" void hadal_switch(void** save, void* load);
asm(R"(
.text
.globl hadal_switch
.type hadal_switch, @function
hadal_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size hadal_switch, .-hadal_switch
)");

namespace {

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Thread {
  void* stack_pointer = nullptr;
  State state = State::kReady;
  uint64_t exchanged[2] = {};  // what it gives to its warp, by turns, so that a quick lane does not overwrite
  int turn = 0;
};

// One at a time: the emulator has one stream and runs launches to their end.
std::vector<unsigned char> stacks;
std::vector<Thread> threads;
void* scheduler = nullptr;
unsigned current = 0;
const std::function<void()>* body = nullptr;

void Yield(State state) {
  threads[current].state = state;
  hadal_switch(&threads[current].stack_pointer, scheduler);
}

void Enter() {
  (*body)();
  Yield(State::kDone);
  Fail("a finished thread went on");
}

void Prepare(unsigned index) {
  unsigned char* top = stacks.data() + (index + 1) * kStackBytes;
  void** slot = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15});
  *--slot = nullptr;                          // where Enter would return to; keeps its frame aligned
  *--slot = reinterpret_cast<void*>(&Enter);  // popped by ret
  for (int i = 0; i < 6; ++i) *--slot = nullptr;
  threads[index] = {};
  threads[index].stack_pointer = slot;
}

bool All(unsigned begin, unsigned end, State state) {
  return std::all_of(threads.begin() + begin, threads.begin() + end, [&](const Thread& t) { return t.state == state; });
}

void Release(unsigned begin, unsigned end) {
  for (unsigned i = begin; i < end; ++i) threads[i].state = State::kReady;
}

void RunBlock() {
  const unsigned count = blockDim.x;
  for (unsigned i = 0; i < count; ++i) Prepare(i);
  for (;;) {
    for (current = 0; current < count; ++current) {
      if (threads[current].state != State::kReady) continue;
      threadIdx.x = current;
      hadal_switch(&scheduler, threads[current].stack_pointer);
    }
    bool released = false;
    for (unsigned begin = 0; begin < count; begin += kWarp) {
      const unsigned end = std::min(begin + kWarp, count);
      if (!All(begin, end, State::kAtWarpBarrier)) continue;
      Release(begin, end);
      released = true;
    }
    if (released) continue;
    if (All(0, count, State::kDone)) return;
    // Threads that end, or exchange values in a warp, while others wait at a barrier are a fault on a GPU as well.
    if (!All(0, count, State::kAtBlockBarrier)) Fail("threads of one block reached a barrier and its end at once");
    Release(0, count);
  }
}

}  // namespace

void ExecuteGrid(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  threads.resize(config.blockDim.x);
  if (stacks.size() < config.blockDim.x * kStackBytes) stacks.resize(config.blockDim.x * kStackBytes);
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  threadIdx = blockIdx = dim3(0, 0, 0);
  body = &thread;
  unsigned char* shared = cuda::hadal_shared_memory;
  unsigned char* guard = shared + config.dynamicSmemBytes;
  for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y) {
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
      std::memset(shared, 0xFF, config.dynamicSmemBytes);  // NaN: shared memory starts undefined
      std::memset(guard, kGuard, kGuardBytes);
      RunBlock();
      if (std::any_of(guard, guard + kGuardBytes, [](unsigned char byte) { return byte != kGuard; })) {
        Fail("a kernel wrote past its shared memory");
      }
    }
  }
}

uint64_t ShuffleXor(uint64_t bits, int lane_mask) {
  if (blockDim.x % kWarp != 0) Fail("a shuffle in a block whose last warp is not full");
  const int turn = threads[current].turn;
  threads[current].exchanged[turn] = bits;
  threads[current].turn = 1 - turn;
  Yield(State::kAtWarpBarrier);
  return threads[current ^ static_cast<unsigned>(lane_mask)].exchanged[turn];
}

}  // namespace cuda_emulator
}  // namespace hadal::kernels

void __syncthreads() { hadal::kernels::cuda_emulator::Yield(hadal::kernels::cuda_emulator::State::kAtBlockBarrier); }
void __syncwarp() { hadal::kernels::cuda_emulator::Yield(hadal::kernels::cuda_emulator::State::kAtWarpBarrier); }
