# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium over the DevTools protocol, through a pair of pipes: no driver, no port."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BINARY = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = "no Chromium here: scripts/bootstrap --test"


class Browser:
    """One browser with one page. Use as a context manager."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="hadal-browser-", ignore_cleanup_errors=True)
        command_read, self.command = os.pipe()
        self.answers, answers_write = os.pipe()

        def as_3_and_4():  # the numbers that Chromium expects
            os.dup2(os.dup(answers_write), 4)
            os.dup2(command_read, 3)

        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
                 "--no-first-run", "--force-color-profile=srgb", "--hide-scrollbars", f"--user-data-dir={self.profile.name}"]
        # Moved out of the way of 3 and 4, which as_3_and_4 overwrites.
        command_read, answers_write = (os.dup2(fd, fd + 100) for fd in (command_read, answers_write))
        self.process = subprocess.Popen([BINARY, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        close_fds=False, preexec_fn=as_3_and_4)
        os.close(command_read)
        os.close(answers_write)
        self.numbers = itertools.count(1)
        self.pending = b""
        self.events = []
        self.session = None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session = None
        self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.command)
        os.close(self.answers)
        self.profile.cleanup()

    def _message(self, deadline):
        while b"\0" not in self.pending:
            assert select.select([self.answers], [], [], max(0, deadline - time.monotonic()))[0], "the browser says nothing"
            data = os.read(self.answers, 1 << 20)
            assert data, "the browser has ended"
            self.pending += data
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, timeout=60, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.command, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._message(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def problems(self):
        """What the page threw or logged as an error: refused resources, breaches of the policy, exceptions."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"].get("exception", params["exceptionDetails"]).get("description"))
            elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        return found

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, expression):
        """The value of an expression in the page; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition, timeout=60):
        deadline = time.monotonic() + timeout
        while not self.js(condition):
            assert time.monotonic() < deadline, f"{condition} did not become true; the page says:\n{self.js('document.body.innerText')}"
            time.sleep(0.05)

    def text(self, selector):
        return self.js(f"[...document.querySelectorAll({json.dumps(selector)})].map((node) => node.textContent).join('\\n')")

    def key(self, name, code=0, text="", modifiers=0):
        """A key as a keyboard sends it, to whatever has the focus."""
        common = {"key": name, "code": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
