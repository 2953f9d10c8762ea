# SPDX-License-Identifier: Apache-2.0
"""Checks that files include what they use of the precompiled headers: check_includes.py SOURCE_DIR.

cmake/HadalPch.cmake puts library headers in front of most sources, so the compiler does not miss an include that was
forgotten; a build without them, or of another compiler, would. Here a name of such a header needs the header, included by
the file itself or through headers of ours, or one of those that bring it by their own contract.
"""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts/lib"))
from includes import Includes  # noqa: E402

SOURCES = (".h", ".cc")
FOLDERS = ("base", "kernels", "models", "server", "client", "tests")
NOT_CODE = re.compile(r'//[^\n]*|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"', re.DOTALL)

STRINGS = ("string", "absl/strings/str_cat.h", "absl/strings/str_format.h", "absl/status/status.h", "absl/status/statusor.h")
STRING_VIEWS = ("absl/strings/string_view.h", "absl/strings/ascii.h", "absl/strings/match.h", "absl/strings/numbers.h",
                "absl/strings/str_split.h", *STRINGS[1:])
ALGORITHMS = ("all_of|any_of|clamp|copy_backward|copy_if|copy_n|count_if|equal|fill|fill_n|find|find_if|generate|lower_bound|max|max_element"
              "|min|min_element|mismatch|none_of|nth_element|partial_sort|remove_if|reverse|rotate|search|sort|stable_sort|transform"
              "|unique|upper_bound")
SERVER_CONTEXTS = ("grpcpp/support/server_callback.h", "grpcpp/grpcpp.h", "grpcpp/server_context.h", "grpcpp/generic/", "hadal/v1/inference.grpc.pb.h")

# A name, and the headers of which one must be there; a header that ends with a slash stands for its folder. Each header of
# the precompiled sets has its rule, but <cstdint>, which every other one brings.
RULES = [(re.compile(pattern), headers) for pattern, headers in (
    (rf"\bstd::(?:{ALGORITHMS})\(", ("algorithm",)),
    (r"\bstd::(?:atomic|memory_order)\w*", ("atomic",)),
    (r"\bstd::deque\b", ("deque",)),
    (r"\bstd::function\b", ("functional",)),
    (r"\bstd::(?:multi)?map\b", ("map",)),
    (r"\bstd::(?:unique_ptr|shared_ptr|weak_ptr|make_unique|make_shared|enable_shared_from_this)\b", ("memory",)),
    (r"\bstd::(?:optional|nullopt)\b", ("optional",)),
    (r"\bstd::(?:string|to_string)\b", STRINGS),
    (r"\bstd::string_view\b", ("string_view", *STRINGS)),
    (r"\bstd::(?:this_)?thread\b", ("thread",)),
    (r"\bstd::(?:move|forward|exchange|pair|swap)\b", ("utility", "deque", "functional", "map", "memory", "optional", "string", "vector")),
    (r"\bstd::(?:variant|visit|get_if|holds_alternative|monostate)\b", ("variant",)),
    (r"\bstd::vector\b", ("vector",)),
    (r"\babsl::(?:Status|OkStatus|StatusCode|\w+Error)\b", ("absl/status/status.h", "absl/status/statusor.h")),
    (r"\babsl::StatusOr\b", ("absl/status/statusor.h",)),
    (r"\babsl::(?:StrCat|StrAppend|AlphaNum|Hex)\b", ("absl/strings/str_cat.h",)),
    (r"\babsl::(?:StrFormat|StrAppendFormat|SNPrintF)\b", ("absl/strings/str_format.h",)),
    (r"\babsl::string_view\b", STRING_VIEWS),
    (r"\babsl::(?:Span|MakeSpan|MakeConstSpan)\b", ("absl/types/span.h",)),
    (r"\babsl::Now\b", ("absl/time/clock.h",)),
    (r"\babsl::(?:Time|Duration|Seconds|Milliseconds|InfiniteDuration|InfiniteFuture|ZeroDuration)\b", ("absl/time/time.h", "absl/time/clock.h")),
    (r"\b(?:EXPECT|ASSERT)_(?:EQ|TRUE)\(|\bTEST(?:_F|_P)?\(", ("gtest/gtest.h", "gmock/gmock.h")),
    (r"\b(?:EXPECT_THAT|ASSERT_THAT|MATCHER|MATCHER_P)\(|\btesting::(?:ElementsAre|HasSubstr)\b", ("gmock/gmock.h",)),
    (r"\bnlohmann::\w", ("nlohmann/json.hpp", "nlohmann/json_fwd.hpp")),
    (r"\bgrpc::\w", ("grpcpp/", "hadal/v1/inference.grpc.pb.h")),
    (r"\bgrpc::(?:CallbackServerContext|Server\w+Reactor|CallbackGenericService)\b", SERVER_CONTEXTS),
    (r"\basio::(?:read|async_read)\(", ("boost/asio/read.hpp",)),
    (r"\basio::(?:write|async_write)\(", ("boost/asio/write.hpp",)),
    (r"\basio::(?:buffer|const_buffer|mutable_buffer)\b", ("boost/asio/buffer.hpp",)),
    (r"\basio::awaitable\b", ("boost/asio/awaitable.hpp", "boost/asio/use_awaitable.hpp", "boost/asio/co_spawn.hpp")),
    (r"\basio::co_spawn\b", ("boost/asio/co_spawn.hpp",)),
    (r"\basio::detached\b", ("boost/asio/detached.hpp",)),
    (r"\basio::io_context\b", ("boost/asio/io_context.hpp",)),
    (r"\basio::post\b", ("boost/asio/post.hpp",)),
    (r"\basio::steady_timer\b", ("boost/asio/steady_timer.hpp",)),
    (r"\btcp::(?:socket|acceptor|endpoint)\b", ("boost/asio/ip/tcp.hpp",)),
)]


def brings(name, header):
    """Whether the included file `name` is the header, or lies in the folder, that a rule asks for."""
    return name == header or header.endswith("/") and name.startswith(header)


def check_file(path, text, included):
    """Yields one message for each name of the file `path` whose header is not among the included ones."""
    code = NOT_CODE.sub("", text)
    for pattern, headers in RULES:
        match = pattern.search(code)
        if match and not any(brings(name, header) for name in included for header in headers):
            yield f"{path}: {match.group(0)}: include <{headers[0]}>"


def main():
    root = pathlib.Path(sys.argv[1])
    includes = Includes(root)
    problems, count = [], 0
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES:
                name = path.relative_to(root).as_posix()
                problems += check_file(name, path.read_text(encoding="utf-8"), includes.of(name))
                count += 1
    print("\n".join(problems))
    print(f"{count} files checked, {len(problems)} problems")
    return 1 if problems or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
