// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "server/http/codec/response.h"
#include "server/http/unary_handler.h"
#include "server/service/served_model.h"

namespace hadal::http {

// Ollama's routes about models, which its clients call before they chat. Models are fixed for the life of the server:
// they cannot be loaded, unloaded or changed.

// GET /api/tags and /api/ps: the models that are served, and those in memory, which are the same.
Response OllamaModelsResponse(const std::vector<std::shared_ptr<const service::ServedModel>>& models, bool in_memory);
// GET /api/version: the release of Ollama whose API this is.
Response OllamaVersionResponse();
// POST /api/show {"model"}, in old clients {"name"}: what a model is and can do. A UnaryAnswer.
absl::Status ShowOllamaModel(const UnaryContext& context, RequestBody* body, Response* response);

}  // namespace hadal::http
