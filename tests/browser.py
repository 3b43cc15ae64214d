"""A real browser for tests: Chromium of the system, driven by playwright; and packages of npm's that it is to run."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from peers import unavailable
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--no-first-run",
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
)
OUTPUT = Path(__file__).parents[1] / "build" / "screenshots"
_NPM_S = 120


@contextmanager
def running() -> Iterator[Browser]:
    """Headless Chromium; skips, or fails under CI, where there is none."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        unavailable("there is no Chromium", "apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def shoot(page: Page, name: str, *, whole: bool = True) -> Image.Image:
    """Keep what the page shows in ``build/screenshots``, and give it."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    data = page.screenshot(path=OUTPUT / f"{name}.png", full_page=whole)
    return Image.open(io.BytesIO(data)).convert("RGB")


def watched(page: Page) -> list[str]:
    """A list that is filled with what goes wrong on a page: errors of scripts, dialogs, refusals of its policy."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)

    def dismiss(dialog: object) -> None:
        wrong.append(f"dialog: {getattr(dialog, 'message', dialog)}")
        getattr(dialog, "dismiss")()  # noqa: B009

    page.on("dialog", dismiss)
    return wrong


def npm_file(package: str, version: str, member: str) -> Path:
    """A file of a package of npm's, kept for later runs; skips, or fails under CI, where npm gets none."""
    kept = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dicom-node-tests" / f"{package}-{version}"
    )
    target = kept / Path(member).name
    if target.is_file():
        return target
    archive = packed(f"{package}@{version}", kept)
    with tarfile.open(archive, "r:gz") as opened:
        source = opened.extractfile(f"package/{member}")
        assert source is not None
        fresh = target.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(source.read())
        fresh.replace(target)
    return target


def cache() -> Path:
    """Where what npm fetched is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dicom-node-tests"


def packed(package: str, into: Path) -> Path:
    """The archive of a package as npm fetches it."""
    npm = shutil.which("npm")
    if npm is None:
        unavailable(f"there is no npm to fetch {package}", "apt-get install npm")
        raise AssertionError
    into.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", package, "--ignore-scripts", "--silent"]
    ran = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=_NPM_S, check=False)
    if ran.returncode:
        unavailable(f"npm cannot fetch {package}: {ran.stderr.strip()[-200:]}", "is its registry to be reached?")
    return into / ran.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of one file."""
    with running() as found:
        yield found
