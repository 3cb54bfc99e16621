"""The page in a real browser: it loads, says nothing on the console, and its figures are there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from oneshot_plugins.report.folder import read_run
from oneshot_plugins.report.render import render

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on this machine; apt-get install chromium"
)

LOOK = """
<script>
const seen = {errors: [], violations: []};
addEventListener("error", (event) => seen.errors.push(String(event.message)), true);
addEventListener("securitypolicyviolation", (event) => seen.violations.push(event.blockedURI));
addEventListener("DOMContentLoaded", () => {
  const box = (one) => one.getBoundingClientRect();
  seen.drawings = [...document.querySelectorAll("svg")]
    .filter((svg) => !svg.closest("details"))
    .map((svg) => [box(svg).width, box(svg).height]);
  seen.width = document.documentElement.scrollWidth;
  seen.titles = [...document.querySelectorAll("h2")].map((title) => title.textContent);
  seen.tips = [...document.querySelectorAll(".cloud .area")].map((area) => {
    const mark = box(area.querySelector(".mark.chosen"));
    const at = {clientX: mark.x + mark.width / 2, clientY: mark.y + mark.height / 2};
    area.dispatchEvent(new PointerEvent("pointermove", at));
    const text = tip.hidden ? "" : tip.textContent;
    area.dispatchEvent(new PointerEvent("pointerleave"));
    return [text, tip.hidden];
  });
  const said = document.createElement("pre");
  said.id = "seen";
  said.textContent = JSON.stringify(seen);
  document.body.append(said);
});
</script>
"""


def run_browser(page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr", f"--user-data-dir={folder}", *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.parametrize("width", [1280, pytest.param(500, marks=pytest.mark.slow)])
def test_the_page_loads_without_an_error_and_its_figures_are_there(
    width: int, folder: Any, tmp_path: Path
) -> None:
    page = render(read_run(folder().everything().path))
    file = tmp_path / "page.html"
    file.write_text(page.replace("<head>", f"<head>{LOOK}", 1), encoding="utf-8")
    done = run_browser(file, tmp_path / "profile", "--dump-dom", f"--window-size={width},900")
    assert "CONSOLE" not in done.stderr
    said = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert said, done.stdout[-500:]
    seen = json.loads(said[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert seen["errors"] == seen["violations"] == []
    assert seen["titles"] == [
        "What it found", "How the probabilities moved", "What it was compared with",
        "How to repeat it",
    ]  # fmt: skip
    # One chain, four labels that can be listed, entropy and one metric, three clouds.
    assert len(seen["drawings"]) == 1 + 4 + 2 + 3
    assert all(w > 40 and h > 40 for w, h in seen["drawings"])
    assert seen["width"] == width  # nothing sticks out to the side
    best, same, on_the_front = seen["tips"]
    assert best == same
    assert best[0].startswith("1. val_acc 0.9, macs 1M, size 10")
    assert "kernel: (" in best[0]
    assert on_the_front[0].startswith("4. val_acc 0.5, macs 1differs from the first in ")
    assert all(hidden for _, hidden in seen["tips"])


def test_the_test_would_notice_an_error(folder: Any, tmp_path: Path) -> None:
    page = render(read_run(folder().record().path)).replace("<body>", "<body><script>no()</script>")
    file = tmp_path / "page.html"
    file.write_text(page.replace("<head>", f"<head>{LOOK}", 1), encoding="utf-8")
    done = run_browser(file, tmp_path / "profile", "--dump-dom")
    assert "CONSOLE" in done.stderr
    assert "no is not defined" in done.stdout


@pytest.mark.slow
def test_it_is_light_or_dark_as_the_reader_likes(folder: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(render(read_run(folder().everything().path)), encoding="utf-8")
    paper = []
    for scheme in (1, 0):  # light, dark
        picture = tmp_path / f"{scheme}.png"
        run_browser(
            file, tmp_path / f"profile{scheme}", f"--screenshot={picture}",
            "--window-size=900,700", f"--blink-settings=preferredColorScheme={scheme}",
        )  # fmt: skip
        pixels = imread(picture)[..., :3]
        assert pixels.std() > 0.02  # not blank
        paper.append(float(pixels[2, 2].mean()))
    assert paper[0] > 0.95
    assert paper[1] < 0.15
