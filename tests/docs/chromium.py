"""A page in headless Chromium, driven through its pipe of JSON messages (DevTools protocol): no driver, no port."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads the third and writes the fourth file descriptor.
_SHIM = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
_SAFE = 20  # descriptors from here on are neither of them
_PATIENCE = 60.0  # seconds an answer may take on a busy machine


def chromium() -> str | None:
    """Return the browser's command; None where there is none."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


@contextmanager
def opened(profile: Path) -> Iterator[Tab]:
    """Start the browser with a profile of its own and give an empty tab; end it afterwards."""
    command = chromium()
    assert command is not None
    ours_in, theirs_out = _pipe()
    theirs_in, ours_out = _pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", _SHIM, str(theirs_in), str(theirs_out), command, *_FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        tab = Tab(ours_in, ours_out)
        yield tab
        tab.close()
    finally:
        process.terminate()
        process.wait(timeout=_PATIENCE)
        os.close(ours_in)
        os.close(ours_out)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _SAFE) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


class Tab:
    """One tab: what it is told, and what it reports.

    Attributes:
        events: All reports so far: ``(method, params)``.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._rest = b""
        self._last = 0
        self._session: str | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a message and return its answer."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, address: str, *, width: int, height: int = 800, features: dict[str, str] | None = None) -> None:
        """Open an address at a size in CSS pixels, with media features such as ``prefers-color-scheme``."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        wanted = [{"name": name, "value": value} for name, value in (features or {}).items()]
        self.tell("Emulation.setEmulatedMedia", features=wanted)
        for stop in ("about:blank", address):  # another "#" alone would not load a page anew
            self._visit(stop)

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is waited for."""
        answer = self.tell("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", expression))
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press and release a key, by its name and its Windows code."""
        for kind in ("keyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        return base64.b64decode(self.tell("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def complaints(self) -> list[dict[str, Any]]:
        """Return what went wrong so far: exceptions, and whatever was written to the console."""
        bad = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [params for method, params in self.events if method in bad]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for so far."""
        return [params["request"]["url"] for method, params in self.events if method == "Network.requestWillBeSent"]

    def close(self) -> None:
        """Close the browser."""
        self._session = None
        self.tell("Browser.close")

    def _visit(self, address: str) -> None:
        before = len(self.events)
        self.tell("Page.navigate", url=address)
        while not any(method == "Page.loadEventFired" for method, _ in self.events[before:]):
            self._next()

    def _next(self) -> dict[str, Any]:
        """Return the next message, and keep it where it is a report."""
        end = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self._reading, 1 << 16) if ready else b""
            if not more:
                raise TimeoutError("Chromium does not answer" if not ready else "Chromium has ended")
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append((message["method"], message.get("params", {})))
        return message
