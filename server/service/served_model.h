// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sync.h"
#include "models/chat/chat_template.h"
#include "models/grammar/grammar_compiler.h"
#include "models/model.h"
#include "models/tokenizer/tokenizer.h"

namespace hadal::service {

// From the checkpoint's generation_config.json; what a call leaves out takes these.
struct GenerationDefaults {
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
};

// The properties of a loaded model that the front ends need. Immutable once added to the table.
struct ServedModel {
  std::string name;  // served name
  models::ModelInfo info;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  absl::StatusOr<chat::ChatTemplate> chat_template = absl::NotFoundError("no chat template");
  GenerationDefaults defaults;
  // For output that follows a schema.
  absl::StatusOr<std::shared_ptr<const grammar::GrammarCompiler>> grammar_compiler =
      absl::NotFoundError("this model has no grammar compiler");
  int model_index = 0;  // which engine: the index that admission and Ticket::Finalize take
  int64_t created_unix_s = 0;
};

// Name to served model; the first one added is the default. Filled while models load. Thread-safe.
class ModelTable {
 public:
  struct Entry {
    std::shared_ptr<const ServedModel> model;
    std::optional<bool> thinking;  // set by an alias such as deepseek-reasoner
  };

  // AlreadyExists for a name in use.
  absl::Status Add(std::shared_ptr<const ServedModel> model);
  // `alias` stands for `target` (empty: the default model); a served model of that name wins.
  void AddAlias(std::string alias, std::string target, std::optional<bool> thinking = std::nullopt);
  // All models are loaded. Unknown names are MODEL_LOADING before this,
  // and MODEL_NOT_FOUND from now on.
  void MarkComplete();
  bool complete() const;

  // Empty name: the default model. Errors: MODEL_LOADING, MODEL_NOT_FOUND (param "model").
  absl::StatusOr<Entry> Find(std::string_view name) const;
  std::vector<std::shared_ptr<const ServedModel>> List() const;

 private:
  struct Alias {
    std::string target;
    std::optional<bool> thinking;
  };

  mutable base::Mutex mutex_;
  std::vector<std::shared_ptr<const ServedModel>> models_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Alias, std::less<>> aliases_ ABSL_GUARDED_BY(mutex_);
  bool complete_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace hadal::service
