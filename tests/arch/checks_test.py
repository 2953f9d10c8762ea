# SPDX-License-Identifier: Apache-2.0
"""The architecture checks themselves find what they are meant to find."""
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_batches  # noqa: E402
import check_cuda_build  # noqa: E402
import check_cuda_divisions  # noqa: E402
import check_docs  # noqa: E402
import check_includes  # noqa: E402
import check_layers  # noqa: E402
import check_locks  # noqa: E402
import check_symbols  # noqa: E402
from includes import Includes  # noqa: E402

GOOD = "// SPDX-License-Identifier: Apache-2.0\n#pragma once\n"


class CudaBuildTest(unittest.TestCase):
    def problems(self, command, name="a.cu"):
        return check_cuda_build.find_problems([{"file": name, "command": command}])

    def test_refuses_code_that_could_launch_kernels(self):
        for flag in ("-dc", "-rdc=true", "-rdc true", "--relocatable-device-code=true", "--device-c"):
            self.assertEqual(1, len(self.problems(f"nvcc -O2 {flag} -c a.cu")), flag)
        self.assertEqual([], self.problems("nvcc -O2 -rdc=false --generate-code=arch=compute_90a,code=sm_90a -c a-dc.cu"))

    def test_refuses_a_build_without_kernels(self):
        self.assertEqual(1, len(self.problems("g++ -c a.cc", "a.cc")))


class CudaDivisionsTest(unittest.TestCase):
    PTX = ".visible .entry _ZN5hadal{}(\n\t.param .u64 a\n)\n{{\n\t{} \t%rd1, %rd2, %rd3;\n}}\n"

    def test_names_the_kernel_that_divides_64_bits(self):
        for instruction in ("div.s64", "rem.u64"):
            ptx = self.PTX.format("7cleanE1", "div.u32") + self.PTX.format("6dirtyE1", instruction)
            self.assertEqual(["_ZN5hadal6dirtyE1: 1 divisions of 64 bits, 0 allowed"], check_cuda_divisions.find_divisions(ptx))

    def test_what_needs_64_bits_may_as_often_as_it_does(self):
        for name, problems in (("10CastKernelImEEvNS1", 0), ("10CastKernelIjEEvNS1", 1), ("18RopeKvAppendKernelENS1", 0), ("14KvAppendKernelENS1", 0)):
            self.assertEqual(problems, len(check_cuda_divisions.find_divisions(self.PTX.format(name, "rem.s64"))), name)
        twice = self.PTX.format("14KvAppendKernelENS1", "rem.s64 \t%rd4, %rd5, %rd6;\n\trem.s64")
        self.assertEqual(["_ZN5hadal14KvAppendKernelENS1: 2 divisions of 64 bits, 1 allowed"], check_cuda_divisions.find_divisions(twice))

    def test_libraries_are_their_own_business(self):
        command = "/opt/ccache /opt/cuda/bin/nvcc -O3 -c x"
        entries = [{"file": f"/src/kernels/cuda/{name}.cu", "command": command} for name in ("gemv", "flashinfer_mla", "cutlass_grouped")]
        self.assertEqual(("/opt/cuda/bin/nvcc", ["/src/kernels/cuda/gemv.cu"]), check_cuda_divisions.own_kernels(entries))


class LayersTest(unittest.TestCase):
    def problems(self, path, text):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / path).parent.mkdir(parents=True)
            (root / path).write_text(text, encoding="utf-8")
            return list(check_layers.check_file(root, path))

    def test_accepts_includes_along_the_arrows(self):
        self.assertEqual([], self.problems("server/engine/a.h", GOOD + '#include "server/admission/admission.h"\n#include "models/model.h"\n'))
        self.assertEqual([], self.problems("models/families/x/a.h", GOOD + '#include "kernels/backend.h"\n#include "models/blocks/mlp.h"\n'))
        self.assertEqual([], self.problems("server/request/a.h", GOOD + '#include "models/sampling_params.h"\n'))
        self.assertEqual([], self.problems("kernels/cpu/a.h", GOOD + '#include "base/sync.h"\n'))

    def test_refuses_includes_against_the_arrows(self):
        for path, include in (
            ("server/request/a.h", "server/engine/scheduler.h"),
            ("server/engine/a.h", "server/service/calls.h"),
            ("server/engine/a.h", "models/tokenizer/tokenizer.h"),
            ("server/http/a.h", "server/rpc/grpc_server.h"),
            ("server/rpc/a.h", "server/engine/engine.h"),
            ("models/blocks/a.h", "server/base/clock.h"),
            ("models/blocks/a.h", "kernels/cpu/cpu_backend.h"),
            ("models/tokenizer/a.h", "models/config/config.h"),
            ("models/tokenizer/a.h", "models/chat/chat_template.h"),
            ("models/tokenizer/unicode/a.h", "models/tokenizer/tokenizer.h"),
            ("kernels/ops/a.h", "kernels/backend.h"),
            ("kernels/cpu/a.h", "kernels/cuda/launch.h"),
            ("client/a.h", "server/base/clock.h"),
            ("base/a.h", "server/base/clock.h"),
        ):
            self.assertEqual(1, len(self.problems(path, GOOD + f'#include "{include}"\n')), f"{path} -> {include}")

    def test_refuses_libraries_of_other_layers(self):
        for path, include in (
            ("server/engine/a.h", "grpcpp/grpcpp.h"),
            ("server/engine/a.h", "nlohmann/json.hpp"),
            ("server/main.h", "torch/torch.h"),
            ("server/http/a.h", "hadal/v1/inference.pb.h"),
            ("server/base/a.h", "cuda_runtime.h"),
            ("kernels/ops/a.h", "dnnl.hpp"),
            ("models/config/a.h", "CLI/CLI.hpp"),
        ):
            self.assertEqual(1, len(self.problems(path, GOOD + f"#include <{include}>\n")), f"{path} -> {include}")

    def test_refuses_awaits_in_conditions(self):
        self.assertEqual(1, len(self.problems("server/http/a.h", GOOD + "  if (!co_await Write(text)) co_return;\n")))
        self.assertEqual(1, len(self.problems("server/http/a.h", GOOD + "  while (more && co_await Read()) {\n")))
        self.assertEqual([], self.problems("server/http/a.h", GOOD + "  if (sent) co_await End(true);\n  x = co_await F();\n"))

    def test_refuses_device_conditionals_missing_headers_and_unknown_folders(self):
        self.assertEqual(1, len(self.problems("models/blocks/a.h", GOOD + "#ifdef A\n#if defined(HADAL_CUDA)\n")))
        self.assertEqual(2, len(self.problems("models/blocks/a.h", "int a;\n")))
        self.assertEqual(1, len(self.problems("vendor/a.h", GOOD)))


class LocksTest(unittest.TestCase):
    def test_accepts_our_locks_and_words_in_comments(self):
        self.assertEqual([], list(check_locks.check_file("server/a.h", "  base::Mutex mutex_;  // not a std::mutex\n  std::once_flag once_;\n")))

    def test_refuses_other_locks(self):
        for line in ("absl::Mutex mutex_;", "absl::MutexLock lock(&m);", "absl::ReaderMutexLock lock(&m);", "absl::Notification done_;",
                     "std::mutex mutex_;", "std::shared_mutex m;", "std::lock_guard<std::mutex> lock(m);",
                     "std::condition_variable_any changed_;"):
            self.assertEqual(1, len(list(check_locks.check_file("server/http/a.cc", line + "\n"))), line)

    def test_refuses_sleeps_except_where_one_is_explained(self):
        for line in ("absl::SleepFor(absl::Seconds(1));", "std::this_thread::sleep_for(pause);", "usleep(200);"):
            self.assertEqual(1, len(list(check_locks.check_file("server/http/a.cc", line))), line)
        for path in check_locks.SLEEPERS:
            self.assertEqual([], list(check_locks.check_file(path, "std::this_thread::sleep_until(done);")))
            self.assertTrue((pathlib.Path(__file__).parents[2] / path).is_file(), path)


class IncludesTest(unittest.TestCase):
    def problems(self, text, *included):
        return list(check_includes.check_file("server/a.cc", text, set(included)))

    def test_accepts_a_name_whose_header_is_there(self):
        self.assertEqual([], self.problems("std::vector<int> a;", "vector"))
        self.assertEqual([], self.problems("absl::Status a;", "absl/status/statusor.h"))
        self.assertEqual([], self.problems("grpc::Status a;", "grpcpp/support/status.h"))

    def test_refuses_a_name_whose_header_is_missing(self):
        for line in ("std::vector<int> a;", "a = std::min(b, c);", "std::atomic<int> a;", "absl::StatusOr<int> a;", "absl::StrCat(a);",
                     "absl::Span<int> a;", "absl::Now();", "EXPECT_EQ(a, b);", "EXPECT_THAT(a, b);", "grpc::Status a;",
                     "asio::steady_timer a;", "asio::ip::tcp::socket a;"):
            self.assertEqual(1, len(self.problems(line, "cstdint")), line)

    def test_ignores_comments_and_strings(self):
        self.assertEqual([], self.problems('// std::vector\n"std::vector" R"(std::vector)"', "cstdint"))

    def test_headers_of_ours_count_and_cycles_end(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "a.cc").write_text('#include "b.h"\n', encoding="utf-8")
            (root / "b.h").write_text('#include "a.cc"\n#include <vector>\n', encoding="utf-8")
            self.assertIn("vector", Includes(root).of("a.cc"))

    def test_every_precompiled_header_has_a_rule(self):
        sets = (pathlib.Path(__file__).parents[2] / "cmake/HadalPch.cmake").read_text(encoding="utf-8")
        headers = set(re.findall(r"<([a-z_/.]+)>", sets.partition("# hadal_pch")[0])) - {"cstdint"}
        self.assertGreater(len(headers), 20)
        named = {header for _, rule in check_includes.RULES for header in rule}
        self.assertEqual(set(), {header for header in headers if header not in named and header != "boost/asio.hpp"})


class BatchesTest(unittest.TestCase):
    def problems(self, first, second, header=""):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "c.h").write_text(header, encoding="utf-8")
            for name, text in (("a.cc", first), ("b.cc", second)):
                (pathlib.Path(folder) / name).write_text("namespace {\n" + text + "\n}  // namespace\n", encoding="utf-8")
            return list(check_batches.check_library(pathlib.Path(folder), ["c.h"], ["a.cc", "b.cc"]))

    def test_refuses_a_name_that_two_sources_define(self):
        for line in ("constexpr int kSize = 1;", "constexpr uint8_t kBytes[] = {1};", "struct Item {\n};", "enum class Kind { kA };",
                     "int Add(int a, const Map<int, int>& b) {\n}", "absl::StatusOr<std::pair<int, int>> Read(\n    int a) {\n}"):
            self.assertEqual(1, len(self.problems(line, line)), line)
        self.assertEqual(1, len(self.problems("using Kind = A::Kind;", "using Kind = B::Kind;")))

    def test_refuses_a_name_of_a_header(self):
        self.assertEqual(1, len(self.problems("", "using Json = A;", header="using Json = B;\n")))
        self.assertEqual(1, len(self.problems("constexpr int kSize = 1;", "", header="inline constexpr int kSize = 2;\n")))
        self.assertEqual([], self.problems("using Json = A;", "", header="using Json = A;\n"))

    def test_accepts_overloads_equal_aliases_and_members(self):
        self.assertEqual([], self.problems("int Add(int a) {\n}", "int Add(double a) {\n}"))
        self.assertEqual([], self.problems("using Kind = A::Kind;", "using Kind = A::Kind;"))
        self.assertEqual([], self.problems("struct A {\n  int Size() {\n  }\n};", "struct B {\n  int Size() {\n  }\n};"))
        self.assertEqual([], self.problems("}  // namespace\nint Run() {\n}\nnamespace {", "}  // namespace\nint A::Run() {\n}\nnamespace {"))

    def test_reads_libraries(self):
        text = "hadal_library(NAME a PCH HTTP\n  HDRS a.h  # why\n  SRCS a.cc b.cc\n  SEPARATE b.cc DEPS c)\nhadal_library(NAME d PCH NONE SRCS d.cc)"
        self.assertEqual([("a", ["a.h"], ["a.cc", "b.cc"], ["b.cc"])], list(check_batches.libraries(text)))


class SymbolsTest(unittest.TestCase):
    def test_finds_banned_symbols(self):
        self.assertEqual(["cudaMalloc"], check_symbols.find_banned("server", "cudaMalloc\n_ZN5hadal3FooEv"))
        self.assertEqual(["_ZN5torch4onesEv"], check_symbols.find_banned("server", "_ZN5torch4onesEv"))
        self.assertEqual(["dnnl_primitive_execute"], check_symbols.find_banned("server/engine", "dnnl_primitive_execute"))
        self.assertEqual(["_ZN4grpc6StatusC1Ev"], check_symbols.find_banned("server/engine", "_ZN4grpc6StatusC1Ev"))
        self.assertEqual(["_ZN6google8protobuf7MessageD2Ev"], check_symbols.find_banned("models", "_ZN6google8protobuf7MessageD2Ev"))

    def test_lets_each_layer_use_its_own_libraries(self):
        self.assertEqual([], check_symbols.find_banned("kernels/cpu", "dnnl_primitive_execute"))
        self.assertEqual([], check_symbols.find_banned("server", "_ZN4grpc6StatusC1Ev"))

    def test_finds_weak_functions(self):
        listing = "_ZN5local1fEv t 0 10\n_ZN5table3GetEv T 0 10\n_ZSt3minIlERKT_S2_S2_ W 0 10\nDW.ref.__gxx_personality_v0 V 0 8\nmemmove U\n"
        self.assertEqual(["_ZSt3minIlERKT_S2_S2_"], check_symbols.find_weak_functions(listing))
        self.assertTrue(check_symbols.INSTRUCTION_SET_OBJECT.search("kernels/CMakeFiles/hadal_kernels_cpu.dir/cpu/avx512_bf16.cc.o"))
        self.assertFalse(check_symbols.INSTRUCTION_SET_OBJECT.search("kernels/CMakeFiles/hadal_kernels_cpu.dir/cpu/portable.cc.o"))

    def test_takes_the_longest_matching_folder(self):
        self.assertEqual("server/engine", check_symbols.folder_of("server/engine/CMakeFiles/hadal_engine.dir/a.cc.o"))
        self.assertEqual("server", check_symbols.folder_of("server/CMakeFiles/hadal.dir/main.cc.o"))
        self.assertEqual("models", check_symbols.folder_of("models/families/llama/CMakeFiles/x.dir/a.cc.o"))
        self.assertEqual("kernels/cpu", check_symbols.folder_of("kernels/CMakeFiles/hadal_kernels.dir/cpu/isa.cc.o"))
        self.assertIsNone(check_symbols.folder_of("tests/server/CMakeFiles/x.dir/a.cc.o"))


class DocsTest(unittest.TestCase):
    def problems(self, readme, name="a.md", text=""):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "README.md").write_text(readme, encoding="utf-8")
            (root / name).write_text(text, encoding="utf-8")
            return list(check_docs.check(root))

    def test_accepts_a_short_readme_with_good_links(self):
        self.assertEqual([], self.problems("[a](a.md) [b](https://example.com/x)\n"))

    def test_refuses_long_readme_dead_link_and_machine_path(self):
        self.assertEqual(1, len(self.problems("line\n" * 151)))
        self.assertEqual(2, len(self.problems("[a](missing.md)\n")))  # a link that leads nowhere, and a citation
        self.assertEqual(1, len(self.problems("ok\n", "a.py", "open('/wor" + "k/main/x')\n")))

    def test_a_cited_page_exists(self):
        self.assertEqual([], self.problems("As `a.md` says.\n"))
        self.assertEqual(1, len(self.problems("As `missing.md` 5.5 says.\n")))


if __name__ == "__main__":
    unittest.main()
