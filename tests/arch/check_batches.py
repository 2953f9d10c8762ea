# SPDX-License-Identifier: Apache-2.0
"""Checks that the sources of a library can be compiled as one: check_batches.py SOURCE_DIR.

The sanitizer presets and scripts/serve compile a library's sources in batches (HADAL_UNITY in cmake/HadalBuild.cmake). There the
sources share one anonymous namespace, so a name that two of them define is an error, which is better told here than by the last
stages of scripts/test. Reads the sources as clang-format leaves them: definitions of a namespace begin in the first column.
"""
import collections
import pathlib
import re
import sys

LIBRARY = re.compile(r"\bhadal_library\(\s*(.*?)\)", re.DOTALL)
KEYWORDS = ("NAME", "HDRS", "SRCS", "SEPARATE", "DEPS", "PRIVATE_DEPS", "PCH")
ANONYMOUS = re.compile(r"^namespace \{$(.*?)^\}  // namespace$", re.MULTILINE | re.DOTALL)
CONSTANT = re.compile(r"^(?:static |inline )*(?:constexpr|const)\b[^(;={]*?\b(\w+)(?:\[\w*\])* ?[={]", re.MULTILINE)
TYPE = re.compile(r"^(?:template <.*>\n)?(?:class|struct|enum class|enum)\s+(\w+)\b[^;]*?\{", re.MULTILINE)
ALIAS = re.compile(r"^using (\w+) = (.*?);", re.MULTILINE | re.DOTALL)
FUNCTION = re.compile(r"^(?!return|using|struct|class|enum|#|//)[\w:][\w:<>,&*\s\[\]]*?[\s&*](\w+)\(([^{};]*?)\)(?: const| noexcept)*\s*\{", re.MULTILINE)
MACRO = re.compile(r"^#define (\w+)", re.MULTILINE)


def libraries(text):
    """Yields (name, headers, sources, separate sources) of each library that a CMakeLists.txt declares."""
    for match in LIBRARY.finditer(re.sub(r"#.*", "", text)):
        values, keyword = collections.defaultdict(list), None
        for word in match.group(1).split():
            if word in KEYWORDS:
                keyword = word
            else:
                values[keyword].append(word)
        if values["PCH"] != ["NONE"]:
            yield values["NAME"][0], values["HDRS"], values["SRCS"], values["SEPARATE"]


def parameter_types(parameters):
    """`const A& a, B b = 1` as `const A&,B`, so that overloads stay apart."""
    depth, parts = 0, [""]
    for character in " ".join(parameters.split()):
        depth += (character in "<([{") - (character in ">)]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return ",".join(re.sub(r"\s*=.*", "", part).strip().rpartition(" ")[0] for part in parts)


def definitions(text):
    """(name, meaning) of what a source keeps to itself: a name may come again with the same meaning, if that is not None."""
    for match in MACRO.finditer(text):
        yield match.group(1), None
    for block in ANONYMOUS.findall(text):
        for pattern in (CONSTANT, TYPE):
            for match in pattern.finditer(block):
                yield match.group(1), None
        for match in ALIAS.finditer(block):
            yield match.group(1), " ".join(match.group(2).split())
        for match in FUNCTION.finditer(block):
            yield f"{match.group(1)}({parameter_types(match.group(2))})", None


def check_library(folder, headers, sources):
    """Yields one message for each name that two sources of the library, or a source and a header, define."""
    first = {}
    for header in headers:
        if (folder / header).is_file():
            text = (folder / header).read_text(encoding="utf-8")
            first.update({match.group(1): (header, None) for pattern in (CONSTANT, TYPE) for match in pattern.finditer(text)})
            first.update({match.group(1): (header, " ".join(match.group(2).split())) for match in ALIAS.finditer(text)})
    for source in sources:
        path = folder / source
        if not path.is_file():
            continue
        for name, meaning in definitions(path.read_text(encoding="utf-8")):
            other, known = first.setdefault(name, (source, meaning))
            if other != source and (meaning is None or meaning != known):
                yield f"{path}: {name} is defined in {other}, too: rename or share it, or name the source after SEPARATE"


def main():
    root = pathlib.Path(sys.argv[1])
    problems, count = [], 0
    for top in ("base", "kernels", "models", "server", "client", "tests"):
        for file in sorted((root / top).rglob("CMakeLists.txt")):
            for _, headers, sources, separate in libraries(file.read_text(encoding="utf-8")):
                batch = [source for source in sources if source not in separate]
                count += len(batch)
                problems += check_library(file.parent, headers, batch)
    print("\n".join(problems))
    print(f"{count} sources checked, {len(problems)} problems")
    return 1 if problems or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
