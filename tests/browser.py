"""A browser that says what went wrong on a page; for tests that look at one."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom",
]  # fmt: skip
POLICY = "default-src 'self' 'unsafe-inline' data: blob:"


@dataclass
class Opened:
    """A page after its scripts ran.

    Attributes:
        html: the document as it is then.
        console: what scripts wrote into the console; errors that nobody caught, and whatever the
            page wanted from elsewhere, which it does not get, are among it.
        missing: what the page asked for and is not there.
    """

    html: str = ""
    console: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def opened(folder: Path, page: str, profile: Path) -> Opened:
    """Serve a folder, and open one of its pages in a browser that needs :data:`CHROMIUM`.

    Args:
        folder: what is served.
        page: path in it.
        profile: an empty folder for the browser.
    """
    assert CHROMIUM is not None
    seen = Opened()
    handler = partial(_Handler, seen=seen, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{page}"
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", address],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        server.shutdown()
    seen.html = done.stdout
    seen.console += re.findall(r"CONSOLE[:(]\d+[])]+ (.*)", done.stderr)
    return seen


class _Handler(SimpleHTTPRequestHandler):
    """Serves files, and allows pages to load nothing else."""

    def __init__(self, *args: Any, seen: Opened, **kwargs: Any) -> None:
        self.seen = seen
        super().__init__(*args, **kwargs)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        if int(code) == 404:
            self.seen.missing.append(self.path)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
