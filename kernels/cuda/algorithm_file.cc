// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/algorithm_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace hadal::kernels::cuda {
namespace {

constexpr absl::string_view kChecksum = "checksum ";

// FNV-1a, 64 bits.
uint64_t Checksum(absl::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

std::string Hex(uint64_t value) { return absl::StrCat(absl::Hex(value, absl::kZeroPad16)); }

// The fields of a shape in the order of the file, as `visit(field)`.
template <typename Shape, typename Visit>
void ForEachNumber(Shape& s, Visit visit) {
  for (auto* field : {&s.m, &s.n, &s.k, &s.batch, &s.x_row, &s.w_row, &s.out_row, &s.x_batch, &s.w_batch, &s.out_batch})
    visit(*field);
  for (auto* field : {&s.x_alignment, &s.w_alignment, &s.out_alignment, &s.bias_alignment}) visit(*field);
}
constexpr size_t kNumbers = 14, kFlags = 3, kTypes = 2;

std::string Line(const GemmShape& s, const LtAlgorithm& algorithm) {
  std::string line = absl::StrCat(DTypeName(s.in), " ", DTypeName(s.out), " ", s.has_bias ? 1 : 0, " ",
                                  s.accumulate ? 1 : 0, " ", s.transposed_w ? 1 : 0);
  ForEachNumber(s, [&](auto number) { absl::StrAppend(&line, " ", number); });
  for (const uint64_t word : algorithm.words) absl::StrAppend(&line, " ", Hex(word));
  return line;
}

bool ParseType(absl::string_view text, DType& type) {
  for (const DType known : {DType::kF32, DType::kBF16, DType::kF16}) {
    if (text != DTypeName(known)) continue;
    type = known;
    return true;
  }
  return false;
}

bool ParseLine(absl::string_view line, GemmShape& s, LtAlgorithm& algorithm) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
  if (fields.size() != kTypes + kFlags + kNumbers + algorithm.words.size()) return false;
  auto field = fields.begin();
  if (!ParseType(*field++, s.in) || !ParseType(*field++, s.out)) return false;
  for (bool* flag : {&s.has_bias, &s.accumulate, &s.transposed_w}) {
    if (*field != "0" && *field != "1") return false;
    *flag = *field++ == "1";
  }
  bool good = true;
  ForEachNumber(s, [&](auto& number) { good = absl::SimpleAtoi(*field++, &number) && number >= 0 && good; });
  for (uint64_t& word : algorithm.words) good = absl::SimpleHexAtoi(*field++, &word) && good;
  return good;
}

std::string Header(const AlgorithmScope& scope) {
  return absl::StrCat(kAlgorithmFormat, "\ndevice ", scope.device, "\ndriver ", scope.driver, ", cublasLt ",
                      scope.library, ", multiprocessors ", scope.multiprocessors, "\n");
}

absl::Status Damaged(absl::string_view why) { return absl::InvalidArgumentError(why); }

absl::Status Named(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

absl::Status Failed(const std::string& path, int error) {
  const std::string text = absl::StrCat(path, ": ", std::strerror(error));
  const bool forbidden = error == EACCES || error == EPERM || error == EROFS;
  return forbidden ? absl::PermissionDeniedError(text) : absl::UnavailableError(text);
}

}  // namespace

std::string AlgorithmFileName(const AlgorithmScope& scope) {
  std::string device = scope.device;
  for (char& c : device) c = absl::ascii_isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return absl::StrCat("cublaslt-", device, "-",
                      scope.multiprocessors > 0 ? absl::StrCat(scope.multiprocessors) : std::string("all"), ".txt");
}

std::string FormatAlgorithms(const AlgorithmScope& scope, const AlgorithmTable& table) {
  std::string text = Header(scope);
  size_t lines = 0;
  for (const auto& [shape, algorithm] : table) {
    if (lines++ == kMaxAlgorithms) break;
    absl::StrAppend(&text, Line(shape, algorithm), "\n");
  }
  absl::StrAppend(&text, kChecksum, Hex(Checksum(text)), "\n");
  return text;
}

absl::StatusOr<AlgorithmTable> ParseAlgorithms(const AlgorithmScope& scope, absl::string_view text) {
  const absl::string_view whole = text;
  if (!absl::ConsumePrefix(&text, Header(scope))) {
    return absl::FailedPreconditionError("it is of another format, device, driver or version of cuBLASLt");
  }
  AlgorithmTable table;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos) break;
    absl::string_view line = text.substr(0, end);
    if (absl::ConsumePrefix(&line, kChecksum)) {
      const absl::string_view covered = whole.substr(0, static_cast<size_t>(text.data() - whole.data()));
      if (line != Hex(Checksum(covered))) return Damaged("its checksum is wrong");
      if (end + 1 != text.size()) return Damaged("it goes on behind its checksum");
      return table;
    }
    GemmShape shape;
    LtAlgorithm algorithm;
    if (!ParseLine(line, shape, algorithm)) return Damaged(absl::StrCat("line ", table.size() + 4, " is malformed"));
    if (table.size() == kMaxAlgorithms) return Damaged(absl::StrCat("it has more than ", kMaxAlgorithms, " lines"));
    table.emplace(shape, algorithm);
    text.remove_prefix(end + 1);
  }
  return Damaged("it ends before its checksum");
}

absl::StatusOr<AlgorithmTable> ReadAlgorithms(const std::string& path, const AlgorithmScope& scope) {
  std::error_code error;
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error == std::errc::no_such_file_or_directory) return absl::NotFoundError(absl::StrCat(path, ": not found"));
  if (error) return Failed(path, error.value());
  if (bytes > kMaxAlgorithmFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": it has ", bytes, " bytes, limit ", kMaxAlgorithmFileBytes));
  }
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) return Failed(path, errno != 0 ? errno : EIO);
  absl::StatusOr<AlgorithmTable> table = ParseAlgorithms(scope, text.str());
  if (!table.ok()) return Named(path, table.status());
  return table;
}

absl::Status WriteAlgorithms(const std::string& path, const AlgorithmScope& scope, const AlgorithmTable& table) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return Failed(path, error.value());
  std::string temporary = path + ".XXXXXX";
  const int file = mkstemp(temporary.data());
  if (file < 0) return Failed(path, errno);
  const std::string text = FormatAlgorithms(scope, table);
  const ssize_t written = write(file, text.data(), text.size());
  int failed = written == static_cast<ssize_t>(text.size()) ? 0 : (written < 0 ? errno : ENOSPC);
  if (close(file) != 0 && failed == 0) failed = errno;
  if (failed == 0 && rename(temporary.c_str(), path.c_str()) != 0) failed = errno;
  if (failed == 0) return absl::OkStatus();
  unlink(temporary.c_str());
  return Failed(path, failed);
}

}  // namespace hadal::kernels::cuda
