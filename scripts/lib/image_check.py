# SPDX-License-Identifier: Apache-2.0
"""Runs a Dockerfile's steps in Debian roots and tries the image: image_check.py ROOT [options of scripts/image-check]."""
import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

# What replaces the Dockerfile's longest step without --full.
TESTED = "scripts/bootstrap --test && scripts/test --fast && rm -rf .deps/venv"
BUILT = ". scripts/lib/common.sh && configure release -DHADAL_TESTS=OFF -DHADAL_BENCHMARKS=OFF && ninja -C build/release -j {jobs} hadal"
PORT = 18731
KNOWN = {"FROM", "ARG", "SHELL", "RUN", "WORKDIR", "COPY", "ENV", "USER", "LABEL", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
          "ENTRYPOINT", "CMD"}


def say(text):
    print(f"== {text}", flush=True)


def instructions(text):
    """[(keyword, rest)] with continued lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def expand(text, values):
    return re.sub(r"\$\{(\w+)\}", lambda match: values.get(match.group(1), ""), text)


class Stage:
    """A file system, and what its instructions have set."""

    def __init__(self, root, environment):
        self.root, self.environment = root, dict(environment)
        self.mounts = {}  # folders of this machine, by where they are seen
        self.directory, self.user, self.entrypoint = "/", None, []

    def run(self, command, user=None, popen=False):
        """`command` by bash, with /proc and /dev of its own."""
        inside = ["chroot", *([f"--userspec={user}"] if user else []), str(self.root), "/usr/bin/env", "-i",
                  *(f"{name}={value}" for name, value in self.environment.items()),
                  "/bin/bash", "-o", "pipefail", "-c", f"cd {shlex.quote(self.directory)} && {command}"]
        mounts = "".join(f"mkdir -p {shlex.quote(target)}; mount --rbind {shlex.quote(source)} {shlex.quote(target)}; "
                         for source, target in [("/dev", f"{self.root}/dev"), *((s, f"{self.root}{t}") for t, s in self.mounts.items())])
        outside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/bash", "-ec",
                   f"mount -t proc proc {shlex.quote(str(self.root))}/proc; {mounts}exec {shlex.join(inside)}"]
        if popen:
            return subprocess.Popen(outside, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        code = subprocess.run(outside, stdin=subprocess.DEVNULL, check=False).returncode
        if code != 0:
            sys.exit(f"image-check: a step ended with {code}: {command}")
        return None


class Image:
    def __init__(self, source, folder, options):
        self.source, self.folder, self.options = source, folder, options
        self.stages = {}

    def base(self):
        """A Debian root as the base image is, made once."""
        root = self.folder / "base"
        if (root / "done").exists():
            return root
        shutil.rmtree(root, ignore_errors=True)
        say("debootstrap: a Debian 12 root")
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root, *self.options.mirror], check=True,
                       stdout=subprocess.DEVNULL)
        sources = root / "etc/apt/sources.list"
        mirror = sources.read_text(encoding="utf-8").split()[1].rstrip("/")  # as debootstrap has written it
        sources.write_text(f"deb {mirror} bookworm main\ndeb {mirror} bookworm-updates main\n"
                           f"deb {mirror}-security bookworm-security main\n", encoding="utf-8")
        (root / "done").touch()
        return root

    def copy(self, name, source, environment):
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", source, root], check=True)
        # As container engines write it; debootstrap writes none.
        (root / "etc/hosts").write_text("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n", encoding="ascii")
        # How this machine reaches the network.
        for path in ("/etc/resolv.conf", "/usr/local/share/ca-certificates"):
            if os.path.exists(path):
                subprocess.run(["cp", "-rLT", path, f"{root}{path}"], check=True)
        return Stage(root, environment)

    def step(self, stage, keyword, rest, values):
        if keyword != "RUN":  # whose shell does it
            rest = expand(rest, {**values, **stage.environment})
        if keyword == "RUN":
            command = rest
            if command.startswith(TESTED) and not self.options.full:
                command = command.replace(TESTED, BUILT.format(jobs=self.options.jobs))
            say(f"RUN {command[:120]}")
            exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in values.items())
            stage.run(exports + command, stage.user)
        elif keyword == "WORKDIR":
            stage.directory = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif keyword == "COPY":
            self.copy_files(stage, rest.split())
        elif keyword == "ENV":
            for assignment in shlex.split(rest):
                name, value = assignment.split("=", 1)
                stage.environment[name] = value
        elif keyword == "USER":
            stage.user = rest
        elif keyword == "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)

    def copy_files(self, stage, words):
        target = stage.root / os.path.join(stage.directory, words[-1]).lstrip("/")
        if words[0].startswith("--from="):
            origin = self.stages[words[0].removeprefix("--from=")].root / words[1].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-aT", origin, target], check=True)
            return
        # The build context: what git tracks, as .dockerignore leaves it.
        target.mkdir(parents=True, exist_ok=True)
        files = subprocess.run(["git", "-C", self.source, "ls-files", "-z", "--", words[0]], check=True, capture_output=True).stdout
        # `COPY scripts/ scripts/` copies the folder's content: names lie below it.
        strip = 0 if words[0] == "." else len(pathlib.PurePath(words[0]).parts)
        archive = subprocess.Popen(["tar", "-C", self.source, "--null", "-T", "-", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        unpack = subprocess.Popen(["tar", "-C", target, "-x", f"--strip-components={strip}"], stdin=archive.stdout)
        archive.stdin.write(files)
        archive.stdin.close()
        if unpack.wait() or archive.wait():
            sys.exit("image-check: copying the sources failed")

    def build(self):
        lines = instructions((self.source / "Dockerfile").read_text(encoding="utf-8"))
        unknown = {keyword for keyword, _ in lines} - KNOWN
        if unknown:
            sys.exit(f"image-check: does not know the Dockerfile's {', '.join(sorted(unknown))}")
        first = next(i for i, (keyword, _) in enumerate(lines) if keyword == "FROM")
        bases = dict(rest.split("=", 1) for keyword, rest in lines[:first] if keyword == "ARG")
        # LANG, not LC_ALL: the compiler cache tells them apart, and most machines have the former.
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
                       **{k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k in ("PIP_CERT", "PIP_INDEX_URL")}}
        stage = None
        for keyword, rest in lines[first:]:
            if keyword == "FROM":
                base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
                base, values = expand(base, bases), {}
                stage = self.begin(name, base, bases, environment)
                if stage is not None:
                    self.stages[name] = stage
            elif stage is not None:
                if keyword == "ARG":
                    for word in rest.split():
                        key, _, default = word.partition("=")
                        values[key] = bases.get(key, default)
                else:
                    self.step(stage, keyword, rest, values)
        return self.stages["runtime"]

    def begin(self, name, base, bases, environment):
        if "cuda" in name or base == bases["CUDA"]:
            return None  # needs its toolkit's image
        if self.options.build and name == "build":
            stage = Stage(self.folder / "build", environment)
            shutil.rmtree(stage.root, ignore_errors=True)
            stage.root.mkdir()
            subprocess.run([self.source / "scripts/lib/install_tree.sh", self.options.build, stage.root / "out"], check=True)
            return stage
        if self.options.build and name != "runtime":
            return None
        if base not in self.stages:
            say(f"FROM {base} AS {name}")
            stage = self.copy(name, self.base(), environment)
            if self.options.ccache and name == "sources":
                os.makedirs(self.options.ccache, exist_ok=True)
                stage.environment["CCACHE_DIR"] = "/root/ccache"
                stage.mounts["/root/ccache"] = self.options.ccache
            return stage
        # Nobody uses the stage before it any more: it goes on there.
        return self.stages[base]


# Fails, and names them, when a program or library below a folder needs a library that is not there.
LIBRARIES_FOUND = ("missing=$(find {} -type f \\( -perm -u+x -o -name '*.so*' \\) -exec ldd {{}} + | grep 'not found'); "
                   '[ -z "$missing" ] || {{ echo "$missing"; exit 1; }}')


def check(image):
    """The image's binary as its user: libraries, start, an answer, events, drain."""
    say("ldd of the installed binary")
    image.run(LIBRARIES_FOUND.format("/opt/hadal"), image.user)
    say(f"serve as {image.user}")
    command = f"exec {shlex.join(image.entrypoint)} serve --port={PORT} --log-format=text --kv-events=tcp://127.0.0.1:*"
    server = image.run(command, image.user, popen=True)
    try:
        url = f"http://127.0.0.1:{PORT}"
        deadline = time.monotonic() + 600
        while not (image.root / "tmp/ready").exists():
            image.run(f"{shlex.join(image.entrypoint)} health --port {PORT} --check ready >/dev/null 2>&1 && touch /tmp/ready || sleep 0.5", image.user)
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"image-check: the server is not ready:\n{server.stdout.read()}")
        body = json.dumps({"prompt": "17 + 25", "max_tokens": 4}).encode()
        request = urllib.request.Request(url + "/v1/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            if json.load(answer)["usage"]["completion_tokens"] < 1:
                sys.exit("image-check: the answer is empty")
        pids = subprocess.run(["pgrep", "-f", f"^{image.entrypoint[0]} serve --port={PORT} "], capture_output=True, text=True).stdout.split()
        if len(pids) != 1:
            sys.exit(f"image-check: found {len(pids)} servers")
        os.kill(int(pids[0]), 15)
        if server.wait(60) != 0:
            sys.exit(f"image-check: the server ended with {server.returncode}:\n{server.stdout.read()}")
    finally:
        server.kill()
    if "KV events are published" not in server.stdout.read():
        sys.exit("image-check: no KV events were published")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--mirror", action="append", default=[])
    parser.add_argument("--ccache", default="")
    options = parser.parse_args()
    folder = options.folder or pathlib.Path(tempfile.mkdtemp(prefix="hadal-image-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        image = Image(options.source, folder, options).build()
        check(image)
        size = subprocess.run(["du", "-sm", image.root], capture_output=True, text=True, check=True).stdout.split()[0]
        say(f"the image works; {size} MB")
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
