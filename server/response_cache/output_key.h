// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/request/request.h"

namespace hadal::response_cache {

// SHA-256 of everything that determines a request's tokens; 32 bytes, or empty if the output is not reproducible.
// Requests with equal keys are considered identical.
using CacheKey = std::string;

// What determines a request's tokens besides the engine's Request.
struct OutputFacts {
  std::string_view model;       // fingerprint of its weights
  std::string_view dtype;       // that it computes in, and where: other roundings are other tokens
  std::string_view device;      // "cpu", "cuda:0"
  std::string_view tenant;      // answers are private to it; empty: shared by all tenants
  std::string_view user;        // as the call names them: kept apart, too
  std::string_view cache_salt;  // the same
  bool has_own_seed = false;    // the seed came with the call
  std::vector<std::string> stop_strings;
  std::string_view text_form;  // how text is made of the tokens: it decides where a stop string is found
  std::string_view grammar;    // all that the output must follow, as text; empty: nothing
};

// Empty for a request with a temperature and no seed of its own, and for one whose prompt is scored. Names, class and
// times of the request do not count, nor do its stream and its compiled grammar, for which `facts.grammar` stands.
CacheKey OutputKey(const OutputFacts& facts, const request::Request& request);

}  // namespace hadal::response_cache
