"""The page in a real browser: nothing on the console, every plot drawn, no sideways scrolling."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tfx_pipeline.report import render

from .outcomes import make_outcome

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"),
]

PHONE, DESK = 375, 1280
DARK, LIGHT = 0, 1
"""Blink's numbers for the colour schemes that a user may prefer."""

_PROBE = """
<script>
addEventListener("load", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const plots = [...document.querySelectorAll("svg")].map((svg) => {
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
    const fonts = [...svg.querySelectorAll("text")].map(
      (text) => parseFloat(getComputedStyle(text).fontSize) * scale);
    return {width: box.width, height: box.height, font: Math.min(...fonts),
      outside: [...svg.querySelectorAll("text")].filter((text) => {
        const t = text.getBoundingClientRect();
        return t.left < box.left - 1 || t.right > box.right + 1 || t.bottom > box.bottom + 1;
      }).map((text) => text.textContent)};
  });
  const page = document.documentElement;
  const found = {plots, inner: innerWidth, scroll: page.scrollWidth,
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color};
  parent.document.body.setAttribute("data-probe", JSON.stringify(found));
});
</script>
"""


def chromium(page: Path, scheme: int, width: int, *more: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    return subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--hide-scrollbars",
            f"--user-data-dir={page.parent / 'profile'}",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--window-size={width},900",
            *more,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def probe(page: str, folder: Path, scheme: int, width: int) -> tuple[dict[str, Any], list[str]]:
    """What the browser made of a page: measures, and what it wrote to the console."""
    # A window is never narrower than 500 pixels; a frame in it is.
    probed = html.escape(page.replace("</body>", f"{_PROBE}</body>"))
    frame = folder / "frame.html"
    frame.write_text(
        f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body>'
        f'<iframe srcdoc="{probed}" style="width: {width}px; height: 900px; border: 0"></iframe>'
        "</body>",
        encoding="utf-8",
    )
    done = chromium(frame, scheme, width, "--dump-dom")
    (found,) = re.findall(r'data-probe="([^"]*)"', done.stdout)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found)), console


@pytest.fixture(scope="module")
def page() -> str:
    return render(make_outcome())


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", [DARK, LIGHT])
def test_a_person_can_read_it(page: str, scheme: int, width: int, tmp_path: Path) -> None:
    found, console = probe(page, tmp_path, scheme, width)
    assert console == []
    assert found["inner"] == width, "the browser has the width that was asked for"
    assert found["scroll"] <= width, "the page scrolls sideways"
    assert len(found["plots"]) == page.count("<svg") > 30
    for plot in found["plots"]:
        assert plot["width"] > 300 and plot["height"] > 60
        assert plot["font"] >= 9, "text is too small to read"
        assert plot["outside"] == [], "text is cut off"
    paper, ink = (sum(map(int, re.findall(r"\d+", found[part])[:3])) for part in ("paper", "ink"))
    assert (paper < 150 < 500 < ink) if scheme == DARK else (ink < 150 < 500 < paper)

    plain, picture = tmp_path / "index.html", tmp_path / "page.png"
    plain.write_text(page, encoding="utf-8")
    chromium(plain, scheme, width, f"--screenshot={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000


def test_the_probe_notices_what_is_wrong(tmp_path: Path) -> None:
    """What the test above is worth."""
    wrong = """<body style="background: #fff; color: #000"><div style="width: 999px">wide</div>
    <svg viewBox="0 0 3000 100" width="300"><text x="-90" y="9" font-size="10">cut</text></svg>
    <script>no_such_function()</script></body>"""
    found, console = probe(wrong, tmp_path, LIGHT, PHONE)
    assert found["scroll"] > PHONE and len(console) == 1
    assert found["plots"][0]["font"] < 9 and found["plots"][0]["outside"] == ["cut"]
