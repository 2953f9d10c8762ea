// SPDX-License-Identifier: Apache-2.0
#include "server/http/codec/multipart_reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/utf8.h"
#include "server/base/percent_decode.h"
#include "server/base/strings.h"
#include "server/request/refusal.h"

namespace hadal::http {
namespace {

using request::MakeError;
using request::Reason;

constexpr size_t kMaxBoundaryBytes = 200;
constexpr size_t kMaxPartHeadBytes = 8 << 10;

absl::Status NoForm(absl::string_view what) {
  return MakeError(Reason::kInvalidRequest, absl::StrCat("the body is not valid multipart/form-data: ", what));
}

// The value of `name` in a header's value such as `form-data; name="file"; filename="a.jsonl"`; empty without it. In
// quotes a backslash stands before a quote or a backslash.
std::string Parameter(std::string_view header, std::string_view name) {
  for (size_t at = header.find(';'); at < header.size();) {
    ++at;
    while (at < header.size() && header[at] == ' ') ++at;
    const size_t equals = std::min(header.find_first_of("=;", at), header.size());
    const std::string_view key = header.substr(at, equals - at);
    at = equals;
    if (at >= header.size() || header[at] == ';') continue;
    std::string value;
    if (++at < header.size() && header[at] == '"') {
      for (++at; at < header.size() && header[at] != '"'; ++at) {
        if (header[at] == '\\' && at + 1 < header.size()) ++at;
        value.push_back(header[at]);
      }
      at = std::min(header.find(';', at), header.size());
    } else {
      const size_t end = std::min(header.find(';', at), header.size());
      value = std::string(absl::StripAsciiWhitespace(base::View(header.substr(at, end - at))));
      at = end;
    }
    if (absl::EqualsIgnoreCase(base::View(key), base::View(name))) return value;
  }
  return "";
}

// A value such as `UTF-8'en'na%C3%AFve.jsonl` (RFC 8187) as UTF-8; nullopt if it is none.
std::optional<std::string> ExtendedValue(std::string_view value) {
  const size_t language = value.find('\'');
  const size_t text = value.find('\'', language == value.npos ? value.npos : language + 1);
  if (text == value.npos) return std::nullopt;
  const absl::string_view charset = base::View(value.substr(0, language));
  std::optional<std::string> decoded = base::PercentDecode(value.substr(text + 1));
  if (!decoded.has_value()) return std::nullopt;
  if (absl::EqualsIgnoreCase(charset, "iso-8859-1")) {
    std::string utf8;
    for (const char byte : *decoded) base::AppendUtf8(static_cast<unsigned char>(byte), &utf8);
    return utf8;
  }
  if (!absl::EqualsIgnoreCase(charset, "utf-8") || base::FindInvalidUtf8(*decoded) != decoded->npos) {
    return std::nullopt;
  }
  return decoded;
}

std::string FileName(std::string_view disposition) {
  // RFC 7578 asks senders to leave `filename*` out; older urllib3 sends a name that is not ASCII in it alone. Where
  // both stand it is the better one (RFC 6266, section 4.3).
  std::optional<std::string> extended = ExtendedValue(Parameter(disposition, "filename*"));
  if (extended.has_value()) return *std::move(extended);
  // Browsers and httpx write a quote of a name so.
  return absl::StrReplaceAll(Parameter(disposition, "filename"), {{"%22", "\""}});
}

}  // namespace

absl::StatusOr<MultipartReader> MultipartReader::Create(std::string_view content_type) {
  const std::string_view type = content_type.substr(0, content_type.find(';'));
  if (!absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(base::View(type)), "multipart/form-data")) {
    return MakeError(Reason::kInvalidRequest,
                     "a file is sent as multipart/form-data, with the fields purpose and file");
  }
  std::string boundary = Parameter(content_type, "boundary");
  if (boundary.empty() || boundary.size() > kMaxBoundaryBytes) {
    return NoForm("the Content-Type needs a boundary of 1 to 200 bytes");
  }
  return MultipartReader(std::move(boundary));
}

absl::Status MultipartReader::Feed(std::string_view bytes, Sink* sink) {
  if (ended()) return absl::OkStatus();
  buffer_.append(bytes);
  while (true) {
    const absl::StatusOr<bool> more = Step(sink);
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
  }
}

absl::StatusOr<bool> MultipartReader::Step(Sink* sink) {
  switch (state_) {
    case State::kPreamble:
    case State::kData: {
      const size_t found = buffer_.find(delimiter_);
      // A boundary may have begun in the last bytes.
      const size_t known = buffer_.size() < delimiter_.size() ? 0 : buffer_.size() - (delimiter_.size() - 1);
      const size_t size = found != buffer_.npos ? found : known;
      if (state_ == State::kData && size > 0) {
        if (absl::Status status = sink->Data(std::string_view(buffer_).substr(0, size)); !status.ok()) return status;
      }
      if (found == buffer_.npos) {
        buffer_.erase(0, size);
        return false;
      }
      buffer_.erase(0, found + delimiter_.size());
      state_ = State::kBoundary;
      return true;
    }
    case State::kBoundary:
      if (buffer_.size() < 2) return false;
      if (buffer_.compare(0, 2, "--") == 0) {
        buffer_.clear();
        state_ = State::kEnded;
        return false;
      }
      if (buffer_.compare(0, 2, "\r\n") != 0) return NoForm("something follows a boundary in its line");
      state_ = State::kHead;  // the line's end stays: a head without fields is an empty line
      return true;
    case State::kHead: {
      const size_t end = buffer_.find("\r\n\r\n");
      if (end == buffer_.npos) {
        if (buffer_.size() > kMaxPartHeadBytes) return NoForm("the head of a part has more than 8192 bytes");
        return false;
      }
      if (absl::Status status = BeginPart(std::string_view(buffer_).substr(0, end), sink); !status.ok()) return status;
      buffer_.erase(0, end + 4);
      state_ = State::kData;
      return true;
    }
    case State::kEnded:
      return false;
  }
  return false;
}

absl::Status MultipartReader::BeginPart(std::string_view head, Sink* sink) {
  for (const absl::string_view line : absl::StrSplit(base::View(head), "\r\n")) {
    constexpr absl::string_view kDisposition = "content-disposition:";
    if (!absl::StartsWithIgnoreCase(line, kDisposition)) continue;
    const std::string_view value = base::StdView(line.substr(kDisposition.size()));
    const std::string name = Parameter(value, "name");
    if (name.empty()) return NoForm("a part has no name");
    return sink->BeginPart(name, FileName(value));
  }
  return NoForm("a part has no Content-Disposition");
}

}  // namespace hadal::http
