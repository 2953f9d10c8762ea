// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/flash_attention.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/flash_fixed_plan.h"

namespace hadal::kernels::cuda {
namespace {

constexpr size_t kMaxShapes = 4;  // a model has one or two

int64_t RoundUp(int64_t value) { return (value + 255) / 256 * 256; }

int64_t Bytes(const std::vector<int32_t>& words) { return static_cast<int64_t>(words.size() * sizeof(int32_t)); }

bool MlaPlanHolds(const RaggedBatch& batch, int64_t heads, int64_t multiprocessors) {
  return FlashMlaWorkBound(batch, heads, multiprocessors) <= kFlashMlaMaxWork;
}

// What the expanded form makes keys and values of.
int64_t KvTokens(const RaggedBatch& batch) {
  return std::accumulate(batch.host_context_lens.begin(), batch.host_context_lens.end(), int64_t{0});
}

// The error of a FlashInfer call, with its own words where it has some.
absl::Status FlashError(int code, const std::string& message, const char* call, int line) {
  if (code == 0) return absl::OkStatus();
  if (!message.empty()) return absl::InternalError(absl::StrCat("flashinfer: ", call, ": ", message));
  return CudaError(code, absl::StrCat("flashinfer ", call).c_str(), __FILE__, line);
}

}  // namespace

FlashAttention::Key FlashAttention::KeyOf(const RaggedBatch& batch, const Shape& shape) {
  return {batch.query_start.data, batch.context_lens.data, batch.block_tables.data,
          batch.sequences(),      batch.tokens(),          shape};
}

FlashAttention::Plan& FlashAttention::Find(const Key& key) {
  Plan* free = nullptr;
  for (Plan& plan : plans_) {
    if (step_ > 0 && plan.step == step_ && plan.key == key) return plan;
    if (free == nullptr && (step_ == 0 || plan.step != step_)) free = &plan;
  }
  if (free == nullptr) free = &plans_.emplace_back();
  free->step = 0;
  free->key = key;
  return *free;
}

void FlashAttention::Remember(const Shape& shape) {
  if (std::find(shapes_.begin(), shapes_.end(), shape) != shapes_.end()) return;
  if (shapes_.size() < kMaxShapes) shapes_.push_back(shape);
}

absl::Status FlashAttention::SplitPaged(const RaggedBatch& batch, const Shape& shape, bool replayed, Draft& draft,
                                        std::vector<int32_t>& words) const {
  FlashPagedLaunch launch;
  launch.tokens = batch.tokens();
  launch.sequences = batch.sequences();
  launch.heads = shape.heads;
  launch.kv_heads = shape.kv_heads;
  launch.head_dim = shape.head_dim;
  launch.block_tokens = shape.block_tokens;
  launch.host_query_start = batch.host_query_start.data();
  launch.host_first_page = draft.pages.first_page.data();
  FlashPagedSplit split;
  std::string message;
  const int planned = SplitFlashPaged(launch, device_.multiprocessors(), replayed, &split, &message);
  if (absl::Status s = FlashError(planned, message, "plan of paged attention", __LINE__); !s.ok()) return s;
  FlashPagedLists lists = LayOutPaged(split, shape.heads, shape.kv_heads, shape.head_dim);
  draft.paged = lists.plan;
  draft.float_bytes = lists.float_bytes;
  words = std::move(lists.words);
  return absl::OkStatus();
}

absl::Status FlashAttention::SplitMla(const RaggedBatch& batch, const Shape& shape, bool replayed, Draft& draft,
                                      std::vector<int32_t>& words) const {
  FlashMlaLaunch launch;
  launch.sequences = batch.sequences();
  launch.heads = shape.heads;
  launch.host_query_start = batch.host_query_start.data();
  launch.host_context_lens = batch.host_context_lens.data();
  launch.host_first_page = draft.pages.first_page.data();
  std::vector<int32_t> ints;
  std::string message;
  const int planned = PlanFlashMlaRun(launch, device_.multiprocessors(), &draft.mla, &ints, &message);
  if (absl::Status s = FlashError(planned, message, "plan of mla attention", __LINE__); !s.ok()) return s;
  const int64_t most_pieces = FlashMlaWorkBound(batch, shape.heads, device_.multiprocessors());
  FlashMlaLists lists = CompactMla(ints, draft.mla, replayed ? most_pieces : 0);
  draft.mla = lists.plan;
  draft.float_bytes = FlashMlaFloatBytes(device_.multiprocessors());
  words = std::move(lists.words);
  return absl::OkStatus();
}

absl::Status FlashAttention::MakeDraft(const RaggedBatch& batch, const Shape& shape, bool batch_invariant,
                                       bool replayed, Draft& draft) const {
  if (shape.expanded()) {
    const int64_t kv_tokens = KvTokens(batch);
    FlashPrefillLists lists =
        PlanPrefillWork(batch, PrefillHeadsAtOnce(shape.heads, kv_tokens), device_.multiprocessors());
    draft.pages.first_page = {0};
    draft.words = std::move(lists.words);
    draft.prefill = lists.plan;
    return absl::OkStatus();
  }
  std::optional<FlashPages> pages = PlanPages(batch, shape.block_tokens);
  if (!pages.has_value()) {
    return absl::OutOfRangeError("flashinfer: the contexts of a step hold more than 2^31 tokens");
  }
  draft.pages = *std::move(pages);
  std::vector<int32_t> words;
  if (!batch_invariant) {
    absl::Status s = shape.latent() ? SplitMla(batch, shape, replayed, draft, words)
                                    : SplitPaged(batch, shape, replayed, draft, words);
    if (!s.ok()) return s;
  } else if (shape.latent()) {
    FlashFixedMla fixed = PlanFixedMla(batch, draft.pages, shape.heads, device_.multiprocessors());
    draft.mla = fixed.plan;
    words = std::move(fixed.words);
  } else {
    FlashFixedPaged fixed = PlanFixedPaged(batch, shape.heads / shape.kv_heads);
    draft.paged = fixed.plan;
    words = std::move(fixed.words);
  }
  draft.words = draft.pages.first_page;
  draft.words.insert(draft.words.end(), draft.pages.last_page_tokens.begin(), draft.pages.last_page_tokens.end());
  draft.workspace_at = RoundUp(Bytes(draft.words));
  draft.words.resize(draft.workspace_at / sizeof(int32_t));
  draft.words.insert(draft.words.end(), words.begin(), words.end());
  return absl::OkStatus();
}

void FlashAttention::Place(Draft draft, int64_t most_pages, char* lists, char* indices, Plan& plan) {
  plan.first_page = reinterpret_cast<const int32_t*>(lists);
  plan.last_page_tokens = plan.first_page + draft.pages.first_page.size();
  plan.page_indices = reinterpret_cast<int32_t*>(indices);
  plan.indices_built = false;
  plan.most_pages = most_pages;
  plan.int_workspace = lists + draft.workspace_at;
  plan.float_bytes = draft.float_bytes;
  plan.paged = draft.paged;
  plan.mla = draft.mla;
  plan.prefill = draft.prefill;
}

bool FlashAttention::PlanBatch(const RaggedBatch& batch, bool expanded, bool batch_invariant, bool replayed) {
  bool all = true;
  for (const Shape& shape : shapes_) {
    if (shape.expanded() != expanded) continue;
    if (shape.latent() && !expanded && !batch_invariant &&
        !MlaPlanHolds(batch, shape.heads, device_.multiprocessors())) {
      all = false;
      continue;
    }
    Draft draft;
    if (!MakeDraft(batch, shape, batch_invariant, replayed, draft).ok()) {
      all = false;  // the call will say why
      continue;
    }
    const int64_t most_pages = replayed ? batch.sequences() * batch.block_tables.size(1) : draft.pages.pages();
    char* indices = area_.TakeBack(most_pages * int64_t{sizeof(int32_t)});
    char* lists = indices != nullptr ? area_.Put(draft.words.data(), Bytes(draft.words)) : nullptr;
    if (lists == nullptr) {
      all = false;
      continue;
    }
    Plan& plan = Find(KeyOf(batch, shape));
    Place(std::move(draft), most_pages, lists, indices, plan);
    plan.step = step_;
  }
  return all;
}

void FlashAttention::BeginStep(const StepLists& lists, bool batch_invariant) {
  ++step_;
  all_planned_ = true;
  for (const RaggedBatch& batch : lists.batches) {
    const bool planned = batch.tokens() > 0 && PlanBatch(batch, /*expanded=*/false, batch_invariant, lists.replayed);
    all_planned_ = all_planned_ && planned;
  }
  for (const RaggedBatch& batch : lists.expanded_batches) {
    const bool planned = batch.tokens() > 0 && PlanBatch(batch, /*expanded=*/true, batch_invariant, lists.replayed);
    all_planned_ = all_planned_ && planned;
  }
}

bool FlashAttention::AppendPlans(std::vector<int64_t>& key) const {
  if (!all_planned_) return false;
  for (const Plan& plan : plans_) {
    if (plan.step != step_) continue;
    for (const void* address : {static_cast<const void*>(plan.first_page), static_cast<const void*>(plan.page_indices),
                                static_cast<const void*>(plan.int_workspace)}) {
      key.push_back(reinterpret_cast<int64_t>(address));
    }
    const FlashPagedPlan& p = plan.paged;
    key.insert(key.end(),
               {plan.most_pages, p.tiles, p.tile_rows, p.sequence, p.query_tile, p.key_tile, p.first_row, p.chunk,
                p.split ? 1 : 0, p.merge_first, p.partial_sums, p.partial_logarithms, p.valid_tiles, p.row_count});
    const FlashMlaPlan& m = plan.mla;
    key.insert(key.end(), {m.blocks_x, m.blocks_y, m.q_first, m.kv_first, m.partial_first, m.q_len, m.kv_len, m.q_start,
                           m.kv_start, m.kv_end, m.first_work, m.merge_start, m.merge_end, m.merge_partial_start,
                           m.merge_partial_end, m.merge_stride, m.partial_sums, m.partial_logarithms});
  }
  return true;
}

void FlashAttention::ForgetPageIndices() {
  for (Plan& plan : plans_) plan.indices_built = false;
}

absl::Status FlashAttention::MakeNow(const RaggedBatch& batch, const Shape& shape, bool batch_invariant, Plan& plan) {
  Draft draft;
  if (absl::Status s = MakeDraft(batch, shape, batch_invariant, /*replayed=*/false, draft); !s.ok()) return s;
  const int64_t list_bytes = RoundUp(Bytes(draft.words));
  const int64_t most_pages = draft.pages.pages(), index_bytes = most_pages * int64_t{sizeof(int32_t)};
  char* lists = step_ > 0 ? area_.TakeFront(list_bytes) : nullptr;
  char* indices = lists != nullptr ? area_.TakeBack(index_bytes) : nullptr;
  if (indices == nullptr) {
    if (plan.memory.bytes() < list_bytes + index_bytes) {
      plan.memory.Reset();  // waits for work that uses it
      absl::StatusOr<Buffer> grown = device_.Allocate(list_bytes + index_bytes);
      if (!grown.ok()) return grown.status();
      plan.memory = *std::move(grown);
    }
    lists = static_cast<char*>(plan.memory.data());
    indices = lists + list_bytes;
  }
  if (absl::Status s = device_.Upload(lists, draft.words.data(), Bytes(draft.words)); !s.ok()) return s;
  Place(std::move(draft), most_pages, lists, indices, plan);
  return absl::OkStatus();
}

absl::StatusOr<const FlashAttention::Plan*> FlashAttention::PlanFor(const RaggedBatch& batch, const Shape& shape,
                                                                    bool batch_invariant) {
  if (absl::Status s = device_.Enter(); !s.ok()) return s;
  Plan& plan = Find(KeyOf(batch, shape));
  if (plan.step == 0) {
    Remember(shape);
    if (absl::Status s = MakeNow(batch, shape, batch_invariant, plan); !s.ok()) {
      // Another kernel serves what FlashInfer cannot count, which would add in another order.
      if (absl::IsOutOfRange(s) && !batch_invariant) return nullptr;
      return absl::IsOutOfRange(s) ? absl::ResourceExhaustedError(s.message()) : s;
    }
    plan.step = step_;
  }
  if (!plan.indices_built && !shape.expanded()) {
    HADAL_CUDA_RETURN_IF_ERROR(LaunchBuildPageIndices(device_.stream(), batch.block_tables.as<const int32_t>(),
                                                      batch.block_tables.stride(0), plan.first_page, batch.sequences(),
                                                      plan.most_pages, plan.page_indices));
    plan.indices_built = true;
  }
  return &plan;
}

absl::StatusOr<bool> FlashAttention::TryPaged(const PagedAttentionParams& p, bool batch_invariant) {
  if (!HaveFlashInfer()) return false;
  std::optional<FlashPagedLaunch> launch = PlanFlashPaged(p);
  if (!launch.has_value()) return false;
  const absl::StatusOr<const Plan*> plan =
      PlanFor(p.batch, {launch->heads, launch->kv_heads, launch->head_dim, launch->block_tokens}, batch_invariant);
  if (!plan.ok()) return plan.status();
  if (*plan == nullptr) return false;
  const absl::StatusOr<char*> floats = device_.Scratch((*plan)->float_bytes);
  if (!floats.ok()) return floats.status();
  launch->first_page = (*plan)->first_page;
  launch->last_page_tokens = (*plan)->last_page_tokens;
  launch->page_indices = (*plan)->page_indices;
  launch->int_workspace = (*plan)->int_workspace;
  launch->float_workspace = *floats;
  std::string message;
  const int ran = RunFlashPaged(device_.stream(), *launch, (*plan)->paged, &message);
  if (absl::Status s = FlashError(ran, message, "paged attention", __LINE__); !s.ok()) return s;
  return true;
}

absl::StatusOr<bool> FlashAttention::TryMla(const MlaAttentionParams& p, bool batch_invariant) {
  if (!HaveFlashInfer()) return false;
  std::optional<FlashMlaLaunch> launch = PlanFlashMla(p, batch_invariant);
  if (!launch.has_value()) return false;
  if (!batch_invariant && !MlaPlanHolds(p.batch, launch->heads, device_.multiprocessors())) return false;
  const absl::StatusOr<const Plan*> plan =
      PlanFor(p.batch, {launch->heads, /*kv_heads=*/0, kFlashMlaLatent, launch->block_tokens}, batch_invariant);
  if (!plan.ok()) return plan.status();
  if (*plan == nullptr) return false;
  const absl::StatusOr<char*> floats = device_.Scratch((*plan)->float_bytes);
  if (!floats.ok()) return floats.status();
  launch->page_indices = (*plan)->page_indices;
  launch->int_workspace = (*plan)->int_workspace;
  launch->float_workspace = *floats;
  std::string message;
  const auto run = hopper_mla_ && !batch_invariant ? RunFlashMlaHopper : RunFlashMla;
  const int ran = run(device_.stream(), *launch, (*plan)->mla, &message);
  if (absl::Status s = FlashError(ran, message, "mla attention", __LINE__); !s.ok()) return s;
  return true;
}

// The kernel reads a head's key in one piece, so the shared rope key is copied beside what each head has of its own:
// one part in a hundred of what the products read and write when a prompt has a thousand tokens.
absl::StatusOr<bool> FlashAttention::TryPrefill(const MlaPrefillParams& p) {
  if (!hopper_prefill_) return false;
  const std::optional<FlashPrefillLaunch> whole = PlanFlashPrefill(p);
  if (!whole.has_value()) return false;
  const absl::StatusOr<const Plan*> plan =
      PlanFor(p.batch, {whole->heads, /*kv_heads=*/0, kFlashPrefillKey, /*block_tokens=*/0}, /*batch_invariant=*/false);
  if (!plan.ok()) return plan.status();
  const int64_t heads = PrefillHeadsAtOnce(whole->heads, whole->kv_tokens);
  const absl::StatusOr<char*> keys = device_.Scratch(PrefillKeyBytes(heads, whole->kv_tokens));
  if (!keys.ok()) return keys.status();
  for (int64_t first = 0; first < whole->heads; first += heads) {
    HADAL_CUDA_RETURN_IF_ERROR(
        LaunchJoinKeys(device_.stream(), ToView(p.k_nope.Slice(1, first, heads)), ToView(p.k_pe), *keys));
    FlashPrefillLaunch launch = *whole;
    launch.heads = heads;
    launch.q = p.q_nope.Slice(1, first, heads).data;
    launch.v = p.v.Slice(1, first, heads).data;
    launch.out = p.out.Slice(1, first, heads).data;
    launch.keys = *keys;
    launch.lists = (*plan)->int_workspace;
    std::string message;
    const int ran = RunFlashPrefill(device_.stream(), launch, (*plan)->prefill, &message);
    if (absl::Status s = FlashError(ran, message, "mla prefill", __LINE__); !s.ok()) return s;
  }
  return true;
}

}  // namespace hadal::kernels::cuda
