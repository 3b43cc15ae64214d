"""The pages in a real browser: what a reader sees, does by keyboard, and what may not run."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import browser, npm_file, shoot, watched
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from pydicom.dataset import Dataset
from result_cases import series
from studies_of_results import Clinic
from web_archive import served

from dicom_node.archive.database import Database
from dicom_node.archive.migrate import migrate

__all__ = ["browser"]
pytestmark = pytest.mark.peer

SIDE, SLICES = 128, 12
RED = (224, 97, 76)  # of segment 1
SIZES = {"reading room": (1280, 900), "telephone": (390, 844)}
AXE = ("axe-core", "4.14.1", "axe.min.js")
HOSTILE = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
# Names of PS3.5 annexes H to K, and of other sets; each in a study of its own.
NAMES = {
    "ISO_IR 100": "Buc^Jérôme",
    "ISO_IR 101": "Wałęsa",
    "ISO_IR 109": "Ċensu",
    "ISO_IR 110": "Šķēle",
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 148": "Çavuşoğlu",
    "ISO_IR 166": "สมชาย",
    "ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "ISO 2022 IR 87": "山田^太郎",
    "ISO 2022 IR 149": "김희중",
    "ISO 2022 IR 58": "张小东",
    "ISO_IR 192": "Wang^小東 🩻",
    "GB18030": "王^小东",
    "GBK": "王^小东",
}


@dataclass
class Site:
    """A node with one result, as a browser sees it."""

    address: str
    clinic: Clinic
    job_id: int
    study: str

    @property
    def result(self) -> str:
        return f"{self.address}/studies/{self.study}"


def images() -> list[Dataset]:
    """A chest of rough shapes: a body of 40 HU, two lungs of -850, a spine of 700; further slices are brighter."""
    made = series(SLICES, shape=(SIDE, SIDE), SeriesDescription=f"Thorax {HOSTILE}"[:64], StudyDescription=HOSTILE[:60])
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for number, image in enumerate(made):
        hu = np.where(((rows - 64) / 50) ** 2 + ((columns - 64) / 60) ** 2 < 1, 40, -1000)
        hu[label()] = -850 + 10 * number
        hu[100:108, 60:68] = 700
        image.PixelData = (hu + 1024).astype("<i2").tobytes()
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    return made


def label() -> Any:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[40:90, 20:55] = mask[40:90, 75:110] = True
    return mask


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose only result has not been assessed yet."""
    folder = tmp_path_factory.mktemp("pages")
    database = Database("sqlite", folder)
    migrate(database)
    clinic = Clinic(database, folder)
    given = clinic.arrive(images())
    job_id = clinic.plan()
    marked = np.zeros((SLICES, SIDE, SIDE), np.uint8)
    marked[2:10, 40:90, 20:55], marked[2:10, 40:90, 75:110] = 1, 2
    clinic.commit(job_id, given, label_map=marked)
    job = clinic.ledger.job(job_id)
    assert job is not None
    with served(database, folder, {"viewer_url": "https://pacs.example.org/view?study={study}"}) as address:
        yield Site(address, clinic, job_id, job.study_uid)
    database.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a reading room's screen; it must end without any error of scripts."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="dark", reduced_motion="reduce")
    wrong = watched(opened)
    yield opened
    opened.close()
    assert wrong == []


def place(page: Page) -> Locator:
    return page.locator(".viewer .place")


def shown(page: Page) -> Image.Image:
    """The viewer's picture, in its own pixels."""
    source = page.locator(".viewer .frame img").evaluate("image => image.decode().then(() => image.src)")
    answer = page.request.get(source)
    assert answer.ok
    return Image.open(io.BytesIO(answer.body())).convert("RGB")


def near(found: Any, wanted: tuple[int, ...]) -> float:
    return float(np.abs(np.asarray(found, float) - wanted).max(axis=-1).min())


def test_the_outline_lies_on_the_screen_where_the_segment_lies(page: Page, site: Site) -> None:
    page.goto(site.result)
    picture = page.locator(".viewer .frame img")
    expect(place(page)).to_have_text(re.compile(r"\d+ / 12"))
    assert shown(page).getpixel((20 * 4, 40 * 4)) == RED
    screen = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("RGB"))
    scale = screen.shape[0] / SIDE
    row, column = round(65 * scale), round(20 * scale)
    assert near(screen[row - 2 : row + 3, column - 2 : column + 3], RED) < 40
    inside = screen[round(60 * scale), round(35 * scale)]
    assert int(inside.max()) - int(inside.min()) < 4  # a grey: only the edge is drawn
    shoot(page, "result-dark")


def test_slices_scroll_by_wheel_and_by_keys(page: Page, site: Site) -> None:
    page.goto(site.result)
    frame = page.locator(".viewer .frame")
    expect(place(page)).to_have_text("7 / 12")
    frame.hover()
    page.mouse.wheel(0, 100)
    expect(place(page)).to_have_text("8 / 12")
    page.mouse.wheel(0, -100)
    expect(place(page)).to_have_text("7 / 12")
    frame.focus()
    for key, wanted in (("ArrowDown", 8), ("ArrowUp", 7), ("End", 12), ("PageUp", 2), ("Home", 1), ("ArrowUp", 1)):
        page.keyboard.press(key)
        expect(place(page)).to_have_text(f"{wanted} / 12")
        expect(page.get_by_label("Slice", exact=True)).to_have_value(str(wanted))


def test_windows_change_what_is_seen(page: Page, site: Site) -> None:
    page.goto(site.result)
    page.locator(".viewer .frame").focus()
    greys = {}
    for key, name in (("1", "Lung"), ("2", "Soft tissue"), ("3", "Bone")):
        page.keyboard.press(key)
        expect(page.get_by_role("radio", name=name)).to_be_checked()
        expect(page.locator(".viewer .frame img")).to_have_attribute("src", re.compile(f"window={name[:4].lower()}"))
        greys[name] = [int(np.asarray(shown(page))[y * 4, x * 4, 0]) for x, y in ((35, 60), (64, 64), (64, 104))]
    # The lung is grey in the lung's window alone, the body in that of soft tissue, the spine in all of them bright.
    assert 50 < greys["Lung"][0] < 150
    assert greys["Soft tissue"][0] == greys["Bone"][0] == 0
    assert 100 < greys["Soft tissue"][1] < 150
    assert greys["Soft tissue"][2] == 255 > greys["Bone"][2] > greys["Bone"][1]


def test_outlines_can_be_left_out_each_for_itself(page: Page, site: Site) -> None:
    page.goto(site.result)
    page.get_by_label("1 Right lung").uncheck()
    expect(page.locator(".viewer .frame img")).to_have_attribute("src", re.compile("segments=2$"))
    assert near(np.asarray(shown(page)), RED) > 15
    page.get_by_label("1 Right lung").check()
    page.locator(".viewer .frame").focus()
    page.keyboard.press("o")
    expect(page.locator(".viewer .frame img")).to_have_attribute("src", re.compile("segments=$"))
    assert np.ptp(np.asarray(shown(page)).astype(int), axis=-1).max() == 0


@pytest.mark.parametrize("size", SIZES)
def test_no_page_is_wider_than_its_window(page: Page, site: Site, size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    for name, address in (("studies", site.address), ("result", site.result)):
        page.goto(address)
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        shoot(page, f"{name}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_screen_readers_find_labels_and_contrast(browser: Browser, site: Site, scheme: Any) -> None:
    axe = npm_file(*AXE).read_text()
    context = browser.new_context(bypass_csp=True, color_scheme=scheme)
    try:
        opened = context.new_page()
        for address in (site.address, site.result):
            opened.goto(address)
            opened.add_script_tag(content=axe)
            found = opened.evaluate("axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] })")
            told = {each["id"]: [node["html"][:200] for node in each["nodes"]] for each in found["violations"]}
            assert told == {}, json.dumps(told, indent=1)
    finally:
        context.close()


def test_what_is_sent_in_descriptions_does_not_run(page: Page, site: Site) -> None:
    page.goto(site.result)
    expect(page.locator("h1")).to_contain_text("<script>")
    assert page.title() != "ran"
    assert page.locator("main script, main img[onerror]").count() == 0


def test_names_of_every_character_set_are_shown_and_do_not_run(page: Page, tmp_path: Path) -> None:
    database = Database("sqlite", tmp_path)
    migrate(database)
    clinic = Clinic(database, tmp_path)
    for number, (charset, name) in enumerate(NAMES.items(), 1):
        one = series(1, StudyInstanceUID=f"1.2.3.{number}", SeriesInstanceUID=f"1.2.3.{number}.1")
        (image,) = one
        image.SOPInstanceUID = f"1.2.3.{number}.1.1"
        image.SpecificCharacterSet = ["", charset] if charset.startswith("ISO 2022") else charset
        image.PatientName, image.PatientID = f"{name.split('^')[0]}^<script>1</script>", f"P{number}"
        image.StudyDescription = f"{name} <script>1</script>"
        image.AccessionNumber = f"A{number}"
        clinic.arrive(one)
    with served(database, tmp_path) as address:
        for number, name in enumerate(NAMES.values(), 1):
            page.goto(f"{address}/studies/1.2.3.{number}")
            expect(page.locator("h1")).to_have_text(f"{name} <script>1</script>")
            assert page.title() == f"Study A{number} – dicom-node"
        page.goto(address)
        for name in NAMES.values():
            expect(page.get_by_text(f"{name} <script>1</script>").first).to_be_visible()
        shoot(page, "names")
    database.close()


def test_a_reader_assesses_by_keyboard_alone(page: Page, site: Site) -> None:
    page.goto(site.result)
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.labels?.[0]?.innerText ?? document.activeElement.innerText ?? ''")
        outlined = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outlined != "none", f"{name!r} does not show that it has the focus"
        seen.append(name.strip())
        if name.strip().startswith("Your name"):
            break
    assert seen[-1].startswith("Your name"), seen
    page.keyboard.type(f"Dr. Grün {HOSTILE}"[:64])
    page.keyboard.press("Tab")
    page.keyboard.type("The apex is cut off. <b>x</b>")
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Reject")
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_contain_text("rejected")
    expect(page.locator(".said")).to_contain_text("<b>x</b>")
    assert page.title() != "ran"
    assert {each["state"] for each in site.clinic.ledger.findings(site.job_id)} == {"rejected"}
    assert "result rejected" in site.clinic.events()
    shoot(page, "assessed")


def test_a_page_hears_of_what_another_node_does(browser: Browser, page: Page, site: Site) -> None:
    clinic = site.clinic
    with served(clinic.database, clinic.data_dir) as other:
        page.goto(f"{other}/studies/{site.study}")
        page.wait_for_selector("body[data-connected=yes]")
        page.get_by_label("Comment").fill("half a sentence")
        page.evaluate("window.same = true")
        clinic.deliver("pacs")
        expect(page.locator("#deliveries")).to_contain_text("sent", timeout=15_000)
        clinic.deliver("reading")
        expect(page.locator("#now .pill")).to_have_text("delivered", timeout=15_000)
        assert page.evaluate("window.same") is True  # the page was not loaded anew
        expect(page.get_by_label("Comment")).to_have_value("half a sentence")
        list_ = browser.new_page()
        list_.goto(other)
        list_.wait_for_selector("body[data-connected=yes]")
        new = series(1, StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1", AccessionNumber="LATER", PatientID="N-1")
        new[0].SOPInstanceUID = "1.2.9.1.1"
        clinic.arrive(new)
        expect(list_.get_by_text("LATER")).to_be_visible(timeout=15_000)
        list_.close()
