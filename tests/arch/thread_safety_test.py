# SPDX-License-Identifier: Apache-2.0
"""The thread-safety analysis refuses what breaks an annotation, and looks again when a header has changed."""
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/lib"))
import thread_safety  # noqa: E402

HEADER = """
#pragma once
#include "base/sync.h"
class Account {
 public:
  void Add(int amount);
  int balance() const;
 private:
  void AddLocked(int amount) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { balance_ += amount; }
  mutable hadal::base::Mutex mutex_;
  int balance_ ABSL_GUARDED_BY(mutex_) = 0;
};
"""
LOCKED_READ = "int Account::balance() const { hadal::base::MutexLock lock(&mutex_); return balance_; }\n"
LOCKED_ADD = "void Account::Add(int amount) { hadal::base::MutexLock lock(&mutex_); AddLocked(amount); }\n"


class ThreadSafetyTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name).resolve()
        for name in ("base", "server", "build"):
            (self.root / name).mkdir()
        shutil.copy(ROOT / "base/sync.h", self.root / "base/sync.h")
        self.write("server/account.h", HEADER)

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        (self.root / name).write_text(text, encoding="utf-8")

    def check(self, *functions, includes='#include "server/account.h"\n', options=""):
        self.write("server/account.cc", includes + "".join(functions))
        database = []
        for file in ("server/account.cc", "build/carrier.cc"):
            command = f"g++ -I{self.root} -O2 -fno-such-flag-of-clang -std=c++20 {options} -o file.o -c {self.root}/{file}"
            database.append({"directory": str(self.root), "command": command, "file": str(self.root / file)})
        self.write("build/compile_commands.json", json.dumps(database))
        return thread_safety.check(self.root, self.root / "build", 1)

    def test_accepts_what_holds_the_lock(self):
        code, output, count = self.check(LOCKED_READ, LOCKED_ADD)
        self.assertEqual((0, 1), (code, count), output)

    def test_refuses_an_access_without_the_lock(self):
        code, output, _ = self.check("int Account::balance() const { return balance_; }\n", LOCKED_ADD)
        self.assertNotEqual(0, code)
        self.assertIn("requires holding mutex 'mutex_'", output)

    def test_refuses_a_call_without_the_lock_that_it_needs(self):
        code, output, _ = self.check(LOCKED_READ, "void Account::Add(int amount) { AddLocked(amount); }\n")
        self.assertNotEqual(0, code)
        self.assertIn("requires holding mutex 'mutex_'", output)

    def test_refuses_a_lock_that_is_never_given_back(self):
        code, output, _ = self.check(LOCKED_READ, "void Account::Add(int amount) { mutex_.Lock(); AddLocked(amount); }\n")
        self.assertNotEqual(0, code)
        self.assertIn("still held at the end of function", output)

    def test_looks_again_when_a_header_has_changed(self):
        self.assertEqual(0, self.check(LOCKED_READ, LOCKED_ADD)[0])
        self.write("server/account.h", HEADER.replace("ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_)", ""))
        code, output, _ = self.check(LOCKED_READ, LOCKED_ADD)
        self.assertNotEqual(0, code)
        self.assertIn("writing variable 'balance_'", output)

    def test_precompiles_the_headers_that_the_build_does(self):
        (self.root / "build/set.dir").mkdir()
        self.write("build/set.dir/cmake_pch.hxx", "#include <string>\n")
        options = f"-include {self.root}/build/set.dir/cmake_pch.hxx"
        name = "std::string Name() { return {}; }\n"  # nothing else includes <string>
        code, output, count = self.check(LOCKED_READ, LOCKED_ADD, name, options=options)
        self.assertEqual((0, 1), (code, count), output)
        self.assertTrue((self.root / "build/thread-safety/set.dir.pch").is_file())
        code, output, _ = self.check("int Account::balance() const { return balance_; }\n", LOCKED_ADD, options=options)
        self.assertIn("requires holding mutex 'mutex_'", output)

    def test_leaves_sources_without_locks_alone(self):
        self.assertEqual(0, self.check("int x = y;\n", includes="")[2])


if __name__ == "__main__":
    unittest.main()
