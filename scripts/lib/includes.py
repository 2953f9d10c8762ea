# SPDX-License-Identifier: Apache-2.0
"""Which headers a source includes, by itself and through headers of the project."""
import re

_INCLUDE = re.compile(r'^\s*#\s*include\s+(?:<([^>]+)>|"([^"]+)")', re.MULTILINE)


class Includes:
    """Headers by the path in their #include. Those that lie below `root` are followed; the others are names only."""

    def __init__(self, root):
        self.root = root
        self.known = {}

    def of(self, name):
        """What the file `name` below root includes; nothing when it is not there, as a generated one."""
        if name not in self.known:
            self.known[name] = set()  # ends a cycle
            path = self.root / name
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            direct = {angle or quoted for angle, quoted in _INCLUDE.findall(text)}
            self.known[name] = direct.union(*(self.of(header) for header in direct))
        return self.known[name]
