"""A headless Chromium, driven by the DevTools protocol over a pair of pipes.

The protocol: JSON messages that end with a zero byte, our commands on the browser's descriptor 3, its answers on 4
(https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.processes import find_program

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--remote-debugging-pipe", "--hide-scrollbars", "about:blank"),
)
_ANSWER_S = 60.0


def find_chromium() -> Path | None:
    """Return where Chromium is installed."""
    return find_program("chromium") or find_program("chromium-browser") or find_program("google-chrome")


def _pipe() -> tuple[int, int]:
    """A pipe whose descriptors are none of the numbers to which they will be moved."""
    ends = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return read, write


@dataclass(frozen=True)
class View:
    """What the page is looked at with. Sizes in CSS pixels."""

    width: int = 1280
    height: int = 900
    dark: bool = False


class Browser:
    """One browser with one page; close it in the end."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Start it; its profile and its log go to ``folder``."""
        commands_read, self._commands = _pipe()
        self._answers, answers_write = _pipe()
        # The shell moves our descriptors to the numbers that the browser expects.
        script = f'exec "$0" "$@" 3<&{commands_read} 4>&{answers_write}'
        command = ["bash", "-c", script, str(program), f"--user-data-dir={folder / 'profile'}", *_FLAGS]
        with (folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, pass_fds=(commands_read, answers_write), stdout=log, stderr=log, start_new_session=True
            )
        os.close(commands_read)
        os.close(answers_write)
        self._buffer = b""
        self._number = 0
        self.said: list[str] = []
        """What the page wrote to its console, and what was refused it."""
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = ""
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it and what it started."""
        self._process.kill()
        self._process.wait(10)
        os.close(self._commands)
        os.close(self._answers)

    def look_with(self, view: View) -> None:
        """Look with another window, in light or dark."""
        size = {"width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": view.width < 600}
        self._call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if view.dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, url: str) -> None:
        """Go to a page."""
        self._call("Page.navigate", {"url": url})

    def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript in the page and return its value; a promise is waited for."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self._call("Runtime.evaluate", asked)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """The text that is shown in an element; empty where there is none."""
        found = self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return str(found)

    def press(self, key: str, code: int = 0) -> None:
        """Press and release a key, by its name in the DOM; ``code`` is its number on Windows, where that matters."""
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        for kind in ("keyDown", "keyUp"):
            more = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", {"type": kind, **pressed, **more})

    def screenshot(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        data = self._call("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
        path.write_bytes(base64.b64decode(data))

    def _call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params or {}}
        if getattr(self, "_session", ""):
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda found: found.get("id") == self._number)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + _ANSWER_S
        while True:
            while b"\0" in self._buffer:
                raw, _, self._buffer = self._buffer.partition(b"\0")
                found: dict[str, Any] = json.loads(raw)
                if wanted(found):
                    return found
                self._note(found)
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._answers, 1 << 20) if ready else b""
            if not chunk:
                raise AssertionError(f"chromium does not answer; it {'ended' if ready else 'is silent'}")
            self._buffer += chunk

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Log.entryAdded":
            self.said.append(str(event["params"]["entry"]["text"]))
        elif event.get("method") == "Runtime.exceptionThrown":
            self.said.append(json.dumps(event["params"]["exceptionDetails"]))
