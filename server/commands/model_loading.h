// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/checkpoint/progress.h"
#include "models/model.h"
#include "models/tokenizer/tokenizer.h"
#include "server/commands/server_config.h"
#include "server/pipeline/leader.h"
#include "server/service/served_model.h"

namespace hadal::commands {

// A model in memory, before its engine exists.
struct LoadedModel {
  std::shared_ptr<models::Model> model;
  std::shared_ptr<service::ServedModel> served;
};

// Loads what `flag` names: weights (or a null model), tokenizer, chat template and generation defaults. `index` is the
// model's position among the --model flags, `progress` is called from loading threads, one at a time. Errors name the
// file, or the flag. A checkpoint without a usable chat template is loaded anyway; chat requests then get the reason.
// With --pipeline-workers the later layers are theirs: they report to `pipeline`, and `cancelled` ends the wait for
// them.
absl::StatusOr<LoadedModel> LoadServedModel(const ServerConfig& config, const ModelFlag& flag, int index,
                                            std::function<void(checkpoint::LoadProgress)> progress,
                                            const pipeline::LeaderContext& pipeline, base::Notification* cancelled);

// The fingerprint of the tokenizer in the folder `dir` of a model with that many rows in its embedding.
// InvalidArgument, naming folder and flag, when it does not fit the model, or is none that --tokenizer-fingerprint
// accepts.
absl::StatusOr<std::string> TokenizerFingerprint(const ModelOptions& options, const std::string& dir,
                                                 const tokenizer::Tokenizer& tokenizer, int32_t embedding_rows);

}  // namespace hadal::commands
