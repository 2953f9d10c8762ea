// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "server/http/codec/response.h"
#include "server/http/codec/route.h"
#include "server/http/http_server.h"
#include "server/service/served_model.h"

namespace hadal::http {

// GET /health/*: 200 or 503 with {"status","stage","progress","message"}.
Response HealthResponse(const HealthReport& report, Route route);
// GET /v1/models and /v1/models/{id}.
Response ModelsResponse(const std::vector<std::shared_ptr<const service::ServedModel>>& models);
Response ModelResponse(const service::ServedModel& model, std::string_view id);
Response VersionResponse(std::string_view version);

}  // namespace hadal::http
