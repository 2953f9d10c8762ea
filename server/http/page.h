// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/http/codec/response.h"

namespace hadal::http {

// A file of server/http/page/, compiled in. Thread-safe: constant.
struct PageFile {
  std::string_view name;     // "page.css"
  std::string_view content;  // as it is sent
  std::string_view sha256;   // of the content, in hex
};

// All of them, from what CMake makes of the folder.
absl::Span<const PageFile> PageFiles();

// GET / (`name` empty) and GET /page/{name}: the file with the headers that keep it apart from everything else, or 304
// when `if_none_match`, the request's header of that name, has its ETag. ROUTE_NOT_FOUND: there is no such file.
absl::StatusOr<Response> PageResponse(std::string_view name, std::string_view if_none_match);

}  // namespace hadal::http
