// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "server/http/request_body.h"
#include "server/http/response.h"
#include "server/http/route.h"
#include "server/service/generate_service.h"

namespace hadal::http {

// POST to a generating route's path and /render: the token ids of a request and its settings with everything filled in,
// in the shape of vLLM's GenerateRequest (plain completions: a list, one for each prompt), so that a router needs no
// tokenizer of its own. The body is decoded as the generating route's, with the same errors, and freed as soon as that
// is done. For worker threads.
absl::Status Render(service::GenerateService& service, Route route, std::string_view request_id, RequestBody* body,
                    int max_depth, Response* response);

}  // namespace hadal::http
