# SPDX-License-Identifier: Apache-2.0
"""Checks that includes point along the arrows of docs/architecture: check_layers.py [SOURCE_DIR].

Each folder lists which of our headers it may include and which outside headers it may not. The rule with the longest
matching path counts. A file outside every rule is an error, so that a new folder gets a rule. Without SOURCE_DIR the
repository of this script is checked.
"""
import pathlib
import re
import sys

SOURCES = (".h", ".cc", ".cu", ".cuh")
TOP_FOLDERS = ("base", "kernels", "models", "server", "client")
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
# g++ 12 lays the frame of such a coroutine out in two ways and reads another field for `this`.
AWAIT_IN_CONDITION = re.compile(r"\b(?:if|while)\b.*\bco_await\b.*\)")
AWAIT_AS_STATEMENT = re.compile(r"^\s*if \((?:(?!co_await).)*\) co_await\b")
DEVICE_IF = re.compile(r"^\s*#\s*(?:el)?if.*\b(?:HADAL_CUDA|__CUDACC__|__CUDA_ARCH__|USE_CUDA)\b")

TORCH = ("torch/", "ATen/", "c10/", "at/")
CUDA = ("cuda", "cublas", "cudnn", "nccl", "flashinfer/", "cutlass/", "cute/", "cub/", "thrust/", "nvml")
DNNL = ("dnnl", "oneapi/dnnl")
GRPC = ("grpc", "google/", "hadal/v1/", "opentelemetry/")
JSON = ("nlohmann/", "simdjson")
HTTP = ("boost/beast", "boost/asio")
SERVER_LIBRARIES = GRPC + HTTP + ("prometheus/", "CLI/")
MODEL_VIEW = ("models/model.h", "models/kv_layout.h", "models/sampling_params.h", "models/token_grammar.h")
MODEL_UTIL = ("models/concat.h", "models/status_macros.h")

# base/ (locks, UTF-8) is for every folder.
EVERYWHERE = ("base/",)
# path prefix -> (our headers it may include, outside headers it may not include)
RULES = {
    "base/": (("base/",), TORCH + CUDA + DNNL + JSON + SERVER_LIBRARIES),
    "kernels/": (("kernels/",), TORCH + CUDA + DNNL + JSON + SERVER_LIBRARIES),
    "kernels/ops/": (("kernels/ops/", "kernels/tensor_view.h", "kernels/weight_view.h", "kernels/half.h"),
                     TORCH + CUDA + DNNL + JSON + SERVER_LIBRARIES),
    "kernels/reference/": (("kernels/reference/", "kernels/ops/", "kernels/*.h"), TORCH + CUDA + DNNL + JSON + SERVER_LIBRARIES),
    "kernels/cpu/": (("kernels/cpu/", "kernels/ops/", "kernels/*.h"), TORCH + CUDA + JSON + SERVER_LIBRARIES),
    "kernels/cuda/": (("kernels/cuda/", "kernels/ops/", "kernels/*.h"), TORCH + DNNL + JSON + SERVER_LIBRARIES),
    "kernels/torch/": (("kernels/torch/", "kernels/ops/", "kernels/*.h"), CUDA + DNNL + JSON + SERVER_LIBRARIES),
    "models/": (("models/", "kernels/*.h", "kernels/ops/"), TORCH + CUDA + DNNL + SERVER_LIBRARIES),
    "models/json/": (("models/json/",), TORCH + CUDA + DNNL + SERVER_LIBRARIES),
    "models/config/": (("models/config/", "models/json/", "models/plan/memory_plan.h", "models/*.h", "kernels/*.h", "kernels/ops/"), TORCH + CUDA + DNNL + SERVER_LIBRARIES),
    "models/checkpoint/": (("models/checkpoint/", "models/config/", "models/json/", "models/*.h", "kernels/*.h", "kernels/ops/"),
                           TORCH + CUDA + DNNL + SERVER_LIBRARIES),
    "models/plan/": (("models/plan/", "models/checkpoint/", "models/config/", "models/*.h", "kernels/*.h", "kernels/ops/"),
                     TORCH + CUDA + DNNL + SERVER_LIBRARIES),
    "models/tokenizer/": (("models/tokenizer/", "models/json/", *MODEL_UTIL), TORCH + CUDA + DNNL + SERVER_LIBRARIES),
    "models/tokenizer/unicode/": (("models/tokenizer/unicode/",), TORCH + CUDA + DNNL + JSON + SERVER_LIBRARIES),
    "models/jinja/": (("models/jinja/", "models/tokenizer/unicode/", *MODEL_UTIL), TORCH + CUDA + DNNL + SERVER_LIBRARIES),
    "models/chat/": (("models/chat/", "models/jinja/", "models/tokenizer/", *MODEL_UTIL), TORCH + CUDA + DNNL + SERVER_LIBRARIES),
    "models/grammar/": (("models/grammar/", "models/chat/", "models/tokenizer/", "models/*.h"), TORCH + CUDA + DNNL + SERVER_LIBRARIES),
    "models/blocks/": (("models/blocks/", "models/checkpoint/", "models/config/", "models/*.h", "kernels/*.h", "kernels/ops/"),
                       TORCH + CUDA + DNNL + JSON + SERVER_LIBRARIES),
    "models/families/": (("models/families/", "models/blocks/", "models/checkpoint/", "models/config/", "models/*.h", "kernels/*.h", "kernels/ops/"),
                         TORCH + CUDA + DNNL + JSON + SERVER_LIBRARIES),
    "server/base/": (("server/base/",), TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/storage/": (("server/storage/", "server/base/"), TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/batches/": (("server/batches/", "server/redis/", "server/storage/", "server/request/", "server/base/", "models/json/"),
                        TORCH + CUDA + DNNL + GRPC + HTTP),
    "server/redis/": (("server/redis/", "server/tls/openssl_ptr.h", "server/base/"), TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/tls/": (("server/tls/", "server/base/"), TORCH + CUDA + DNNL + GRPC + JSON),
    "server/request/": (("server/request/", "server/base/") + MODEL_VIEW, TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/admission/": (("server/admission/", "server/request/", "server/base/"), TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/engine/": (("server/engine/", "server/admission/", "server/request/", "server/base/") + MODEL_VIEW,
                       TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/kv_events/": (("server/kv_events/", "server/engine/block_events.h", "server/base/"), TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/response_cache/": (("server/response_cache/", "server/redis/", "server/storage/", "server/request/", "server/base/") + MODEL_VIEW, TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/service/": (("server/service/", "server/response_cache/", "server/admission/", "server/request/", "server/base/", "models/registry.h",
                         "models/grammar/", "models/chat/", "models/tokenizer/") + MODEL_VIEW, TORCH + CUDA + DNNL + GRPC + HTTP),
    "server/pipeline/": (("server/pipeline/", "server/base/", "models/model_part.h", "models/layer_range.h", "models/registry.h") + MODEL_VIEW,
                         TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/upstream/": (("server/upstream/", "server/request/", "server/base/"), TORCH + CUDA + DNNL + GRPC + JSON + HTTP),
    "server/relay/": (("server/relay/", "server/upstream/", "server/service/", "server/request/", "server/base/", "models/chat/"), TORCH + CUDA + DNNL + GRPC + HTTP),
    "server/trace/": (("server/trace/", "server/base/"), TORCH + CUDA + DNNL + JSON + HTTP),
    "server/rpc/": (("server/rpc/", "server/batches/", "server/relay/", "server/upstream/", "server/service/", "server/response_cache/cache_control.h", "server/admission/", "server/request/", "server/base/", "models/chat/",
                     "models/tokenizer/") + MODEL_VIEW, TORCH + CUDA + DNNL + HTTP + JSON),
    "server/http/codec/": (("server/http/codec/", "server/batches/", "server/service/", "server/request/", "server/base/", "models/tokenizer/"),
                           TORCH + CUDA + DNNL + GRPC + HTTP),
    "server/http/": (("server/http/", "server/batches/", "server/tls/", "server/relay/", "server/upstream/", "server/service/", "server/response_cache/cache_control.h", "server/admission/", "server/request/", "server/base/",
                      "models/chat/", "models/tokenizer/") + MODEL_VIEW, TORCH + CUDA + DNNL + GRPC),
    "server/": (("server/", "models/", "kernels/*.h", "client/"), TORCH + CUDA + DNNL),  # main.cc and the subcommands wire everything
    "client/": (("client/",), TORCH + CUDA + DNNL + JSON + HTTP),
}


def allowed(include, patterns):
    for pattern in patterns:
        if pattern.endswith("/*.h"):
            folder = pattern[:-3]
            if include.startswith(folder) and "/" not in include[len(folder):]:
                return True
        elif include == pattern or (pattern.endswith("/") and include.startswith(pattern)):
            return True
    return False


def rule_for(path):
    matching = [prefix for prefix in RULES if path.startswith(prefix)]
    return max(matching, key=len) if matching else None


def check_file(root, path):
    """Yields one message for each line of the file at root/path that breaks a rule."""
    prefix = rule_for(path)
    if prefix is None:
        yield f"{path}: no rule in tests/arch/check_layers.py covers this folder"
        return
    ours, banned = RULES[prefix]
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
        yield f"{path}:1: the SPDX line is missing"
    if path.endswith(".h") and "#pragma once" not in lines:
        yield f"{path}:1: '#pragma once' is missing"
    for number, line in enumerate(lines, start=1):
        if not path.startswith("kernels/cuda/") and DEVICE_IF.match(line):
            yield f"{path}:{number}: a device '#if' belongs into kernels/cuda"
        if AWAIT_IN_CONDITION.search(line) and not AWAIT_AS_STATEMENT.match(line) and not line.lstrip().startswith("//"):
            yield f"{path}:{number}: a co_await may not stand in a condition (g++ 12): name its result first"
        match = INCLUDE.match(line)
        if not match:
            continue
        include = match.group(2)
        if include.split("/")[0] in TOP_FOLDERS or include.startswith("tests/"):
            if not allowed(include, ours + EVERYWHERE):
                yield f"{path}:{number}: {prefix} may not include {include}"
        elif include.startswith(banned):
            yield f"{path}:{number}: {prefix} may not include <{include}>"
        elif match.group(1) == '"' and not include.startswith(("absl/", "hadal/v1/", "google/", "gtest/", "gmock/")) and (
                root / path).parent.joinpath(include).is_file():
            yield f'{path}:{number}: includes are written from the root, not "{include}"'


def source_files(root):
    for folder in TOP_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES and path.is_file():
                yield path.relative_to(root).as_posix()


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
    files = list(source_files(root))
    problems = [message for path in files for message in check_file(root, path)]
    print("\n".join(problems))
    print(f"{len(files)} files checked, {len(problems)} problems")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
