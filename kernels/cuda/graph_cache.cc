// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/graph_cache.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/check.h"

namespace hadal::kernels::cuda {
namespace {

void Destroy(void* graph) {
  if (graph != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}

}  // namespace

GraphCache::~GraphCache() {
  for (const Entry& entry : entries_) Destroy(entry.graph);
}

GraphCache::Turn GraphCache::Next(const Key& key) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
  if (found == entries_.end()) {
    if (entries_.size() == kMaxGraphs) {
      Destroy(entries_.back().graph);
      entries_.pop_back();
    }
    entries_.push_front({key, false, nullptr});
    return Turn::kIssue;
  }
  entries_.splice(entries_.begin(), entries_, found);
  if (found->refused) return Turn::kIssue;
  return found->graph == nullptr ? Turn::kRecord : Turn::kReplay;
}

absl::Status GraphCache::Record(Stream stream, absl::FunctionRef<absl::Status()> issue) {
  Entry& entry = entries_.front();
  entry.refused = true;  // until it has been recorded
  // Other threads may allocate meanwhile: what they call is none of this sequence's business.
  HADAL_CUDA_RETURN_IF_ERROR(
      cudaStreamBeginCapture(static_cast<cudaStream_t>(stream), cudaStreamCaptureModeThreadLocal));
  const absl::Status issued = issue();
  cudaGraph_t graph = nullptr;
  cudaError_t ended = cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph);
  cudaGraphExec_t exec = nullptr;
  if (ended == cudaSuccess && issued.ok()) ended = cudaGraphInstantiate(&exec, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();  // a refused call is told here, and nowhere else
  if (ended != cudaSuccess || !issued.ok()) {
    const std::string why = issued.ok() ? cudaGetErrorString(ended) : std::string(issued.message());
    return absl::UnavailableError(absl::StrCat("cuda: a step could not be recorded: ", why));
  }
  entry.graph = exec;
  entry.refused = false;
  return absl::OkStatus();
}

absl::Status GraphCache::Replay(Stream stream) {
  HADAL_CUDA_RETURN_IF_ERROR(
      cudaGraphLaunch(static_cast<cudaGraphExec_t>(entries_.front().graph), static_cast<cudaStream_t>(stream)));
  return absl::OkStatus();
}

}  // namespace hadal::kernels::cuda
