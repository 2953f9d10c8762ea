// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "server/request/request.h"
#include "server/service/calls.h"
#include "server/service/served_model.h"

namespace hadal::service {

// The engine request of a call, with defaults filled in and without its grammar.
struct RenderedCall {
  std::unique_ptr<request::Request> request;
  CallOptions options;  // as the caller gave them
  std::shared_ptr<const ServedModel> model;
};

}  // namespace hadal::service
