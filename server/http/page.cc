// SPDX-License-Identifier: Apache-2.0
#include "server/http/page.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

constexpr std::string_view kFirstFile = "index.html";
constexpr size_t kShownNameBytes = 128;

// Nothing but the page's own files, and requests to this server only. No script may make markup out of text.
constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

std::string_view ContentTypeOf(std::string_view name) {
  const std::string_view ending = name.substr(name.rfind('.') + 1);
  if (ending == "html") return "text/html; charset=utf-8";
  if (ending == "css") return "text/css; charset=utf-8";
  if (ending == "js") return "text/javascript; charset=utf-8";
  return "image/svg+xml";
}

// RFC 9110, 13.1.2: a list of tags, or *; compared weakly, because a gateway that compresses weakens the tag.
bool HasTag(std::string_view list, std::string_view tag) {
  for (absl::string_view entry : absl::StrSplit(base::View(list), ',')) {
    entry = absl::StripAsciiWhitespace(entry);
    absl::ConsumePrefix(&entry, "W/");
    if (entry == "*" || entry == base::View(tag)) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<Response> PageResponse(std::string_view name, std::string_view if_none_match) {
  const std::string_view wanted = name.empty() ? kFirstFile : name;
  const absl::Span<const PageFile> files = PageFiles();
  const auto file = std::find_if(files.begin(), files.end(), [&](const PageFile& one) { return one.name == wanted; });
  if (file == files.end()) {
    return request::MakeError(request::Reason::kRouteNotFound,
                              absl::StrCat("the page has no file ", base::View(wanted.substr(0, kShownNameBytes))));
  }
  const std::string tag = absl::StrCat("\"", base::View(file->sha256.substr(0, 32)), "\"");
  Response response;
  response.headers = {
      {"etag", tag},
      {"cache-control", "no-cache"},  // asked for each time, and mostly answered with 304
      {"content-security-policy", std::string(kContentSecurityPolicy)},
      {"x-content-type-options", "nosniff"},
      {"referrer-policy", "no-referrer"},
      {"cross-origin-opener-policy", "same-origin"},
      {"cross-origin-resource-policy", "same-origin"},
  };
  if (HasTag(if_none_match, tag)) {
    response.status = 304;
    response.content_type.clear();
    return response;
  }
  response.content_type = std::string(ContentTypeOf(file->name));
  response.body = std::string(file->content);
  return response;
}

}  // namespace hadal::http
