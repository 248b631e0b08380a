"""The report as a reader uses it: in a browser, by mouse, by keyboard and on a phone."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cae_jax.evaluation import photograph, report
from cae_jax.evaluation.pictures import Picture
from cae_jax.evaluation.rd import published
from cae_jax.evaluation.records import Record
from cae_jax.evaluation.report import gallery as report_gallery

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PROGRAM = next(filter(None, map(shutil.which, _NAMES)), None)
if _PROGRAM is None:
  pytest.skip(f"no browser: none of {', '.join(_NAMES)} is installed", allow_module_level=True)

_IMAGES = published.KODAK_IMAGES
_DESKTOP, _PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}


def _records():
  """Three codecs with curves of their own on 24 images."""
  return [
    Record(
      codec,
      setting,
      image,
      rate_bpp=0.1 * 2**setting,
      psnr_db=26 + 3 * setting + offset + 0.1 * index,
      psnr_y_db=27 + 3 * setting + offset,
      mse=10.0,
      ms_ssim=1 - 0.08 / 2**setting,
      width=96,
      height=64,
      encode_s=0.1,
      decode_s=0.05,
      version="1.0 of a codec with a long name and many options, to be broken into lines",
    )
    for codec, offset in (("a_codec_of_ours_with_a_long_name", 2.0), ("jpeg", 0.0), ("avif", 1.5))
    for index, image in enumerate(_IMAGES)
    for setting in range(5)
  ]


def _gallery():
  """Two images: black, with pictures that are 16 and 64 levels brighter."""
  black = np.zeros((64, 96, 3), np.uint8)
  row = lambda codec: Record(codec, 1, "x", rate_bpp=0.5, psnr_db=30.0, size_bytes=384)
  pictures = [Picture(row("ours"), black + 16), Picture(row("jpeg"), black + 64)]
  return [report_gallery.image(name, black, pictures) for name in _IMAGES[:2]]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
  path = tmp_path_factory.mktemp("report") / "report.html"
  report.write(path, _records(), "kodak", _gallery())
  return path.as_uri()


@pytest.fixture(scope="module")
def browser():
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=_PROGRAM)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def complaints():
  """What a page complains about, or asks of the network: nothing, at the end of every test."""
  return []


@pytest.fixture(autouse=True)
def _no_complaints(complaints):
  yield
  assert complaints == []


def _open(browser, address, complaints, drawn="#plot-ms_ssim_db .scatterlayer .trace", **settings):
  page = browser.new_context(**settings).new_page()
  page.on("console", lambda message: complaints.append(message.text))
  page.on("pageerror", lambda error: complaints.append(str(error)))
  page.on("request", lambda request: complaints.append(request.url) if _remote(request) else None)
  page.goto(address)
  page.wait_for_selector(drawn)
  return page


@pytest.fixture(scope="module")
def desktop(browser, address, complaints):
  """One page for all tests: to load it takes a second or more."""
  return _open(browser, address, complaints, viewport=_DESKTOP)


@pytest.fixture
def page(desktop):
  """The page as it was when it opened."""
  yield desktop
  desktop.emulate_media(color_scheme="light")
  desktop.get_by_role("button", name="All codecs").click()
  desktop.get_by_label("Images").select_option("mean of all")
  desktop.get_by_label("Rate axis").select_option("logarithmic")
  desktop.get_by_role("button", name="whole").click()
  desktop.evaluate("document.activeElement.blur()")


def _remote(request) -> bool:
  return not request.url.startswith(("file:", "data:", "blob:"))


def _wait_for(page, condition, most=200):
  """Playwright's own waiting evaluates strings in the page, which the page forbids."""
  for _ in range(most):
    if page.evaluate(condition):
      return
    page.wait_for_timeout(50)
  raise AssertionError(f"never came true: {condition}")


def _drawn(page, metric="psnr_db"):
  """Names of the curves drawn, and the qualities of the first point of each."""
  curves = page.evaluate(
    f"document.getElementById('plot-{metric}').data.map(t => [t.name, t.y[0]])"
  )
  return dict(map(tuple, curves))


def _divider_share(page):
  return page.evaluate("""() => {
    const box = id => document.getElementById(id).getBoundingClientRect();
    return (box("divider").left + 1 - box("stage").left) / box("stage").width;
  }""")


def _colour(page, canvas):
  """Of the first pixel."""
  code = """id => {
    const copy = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    copy.drawImage(document.getElementById(id), 0, 0);
    return [...copy.getImageData(0, 0, 1, 1).data];
  }"""
  return page.evaluate(code, canvas)


def _focus_by_tab(page, selector, most=60):
  for _ in range(most):
    page.keyboard.press("Tab")
    if page.evaluate("selector => document.activeElement.matches(selector)", selector):
      return
  raise AssertionError(f"Tab does not reach {selector}")


def test_codecs_are_switched_on_and_off(page):
  before = _drawn(page)
  assert {"JPEG", "AVIF", "a_codec_of_ours_with_a_long_name"} < before.keys()
  page.get_by_role("checkbox", name="JPEG").click()
  assert before.keys() - _drawn(page).keys() == {"JPEG"}
  assert "JPEG" not in _drawn(page, "ms_ssim_db")
  page.get_by_role("button", name="None").click()
  assert _drawn(page) == {}
  page.get_by_role("button", name="All codecs").click()
  assert _drawn(page) == before


def test_one_image_or_their_mean(page):
  published_names = [name for name in _drawn(page) if name.endswith("(published)")]
  assert len(published_names) == len(published.DRAWN)
  assert _drawn(page)["JPEG"] == pytest.approx(26 + 0.1 * 11.5)
  page.get_by_label("Images").select_option("kodim03")
  assert _drawn(page)["JPEG"] == pytest.approx(26.2)
  assert not any(name in _drawn(page) for name in published_names)


def test_published_curves_are_dashed_and_ours_is_the_boldest(page):
  lines = page.evaluate(
    "document.getElementById('plot-psnr_db').data.map(t => [t.name, t.line.dash, t.line.width])"
  )
  assert all((dash != "solid") == name.endswith("(published)") for name, dash, _ in lines)
  assert max(lines, key=lambda line: line[2])[0] == "a_codec_of_ours_with_a_long_name"


def test_the_axis_of_rates(page):
  kind = "document.getElementById('plot-psnr_db')._fullLayout.xaxis.type"
  assert page.evaluate(kind) == "log"
  page.get_by_label("Rate axis").select_option("linear")
  assert page.evaluate(kind) == "linear"


def test_the_divider_follows_slider_and_mouse(page):
  assert _divider_share(page) == pytest.approx(0.5, abs=0.01)
  page.locator("#split").fill("20")
  assert _divider_share(page) == pytest.approx(0.2, abs=0.01)
  page.locator("#stage").scroll_into_view_if_needed()
  box = page.locator("#stage").bounding_box()
  page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 20)
  page.mouse.down()
  page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 30)
  page.mouse.up()
  assert _divider_share(page) == pytest.approx(0.75, abs=0.02)
  assert float(page.locator("#split").input_value()) == pytest.approx(75, abs=2)


def test_pictures_and_their_errors(page):
  _wait_for(page, "document.getElementById('right-canvas').width === 96")
  assert _colour(page, "left-canvas") == [16, 16, 16, 255]
  assert _colour(page, "right-canvas") == [64, 64, 64, 255]
  page.locator("#right").select_option("Original")
  page.get_by_role("button", name="Error map").click()
  _wait_for(page, "document.getElementById('error-scale').hidden === false")
  # Half the scale of 32 levels, and its lower end.
  assert _colour(page, "left-canvas") == [176, 67, 127, 255]
  assert _colour(page, "right-canvas") == [11, 12, 16, 255]


def test_choice_of_image_keeps_the_codecs(page):
  page.locator("#left").select_option("JPEG")
  page.get_by_role("button", name="kodim02").click()
  assert page.get_by_role("button", name="kodim02").get_attribute("aria-pressed") == "true"
  assert "kodim02: whole image" in page.locator("#crop-note").text_content()
  assert page.locator("#left-name").text_content() == "JPEG"


def test_zoom_and_keyboard(page):
  _focus_by_tab(page, "#legend input")
  drawn = len(_drawn(page))
  page.keyboard.press("Space")
  assert len(_drawn(page)) == drawn - 1
  _focus_by_tab(page, "#zooms button:nth-child(3)")
  outline = "getComputedStyle(document.activeElement).outlineStyle"
  assert page.evaluate(outline) == "solid"
  page.keyboard.press("Enter")
  transform = "document.getElementById('left-canvas').style.transform"
  assert page.evaluate(transform) == "translate(-150%, -150%) scale(4)"
  _focus_by_tab(page, "#stage")
  page.keyboard.press("ArrowRight")
  assert page.evaluate(transform) == "translate(-162.5%, -150%) scale(4)"
  _focus_by_tab(page, "#split")
  page.keyboard.press("Home")
  assert _divider_share(page) == pytest.approx(0, abs=0.01)


def test_dark_and_paper(page):
  ink = "document.getElementById('plot-psnr_db').layout.font.color"
  background = "getComputedStyle(document.body).backgroundColor"
  light = page.evaluate(background), page.evaluate(ink)
  page.emulate_media(color_scheme="dark")
  _wait_for(page, f"{ink} !== '{light[1]}'")
  dark = page.evaluate(background), page.evaluate(ink)
  assert dark[0] != light[0]
  page.evaluate("dispatchEvent(new Event('beforeprint'))")
  assert page.evaluate(ink) == light[1]
  assert page.locator("details:not([open])").count() == 0
  page.evaluate("dispatchEvent(new Event('afterprint'))")
  assert page.evaluate(ink) == dark[1]


def test_a_phone_scrolls_downwards_alone(browser, address, complaints):
  phone = {"viewport": _PHONE, "has_touch": True, "is_mobile": True}
  page = _open(browser, address, complaints, **phone)
  assert page.evaluate("document.documentElement.scrollWidth") <= _PHONE["width"]
  for name in ("#stage", "#plot-psnr_db", "#split", ".scroll >> nth=0"):
    box = page.locator(name).bounding_box()
    assert box["width"] > 200
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= _PHONE["width"]


# ---- The blind test ----


@pytest.fixture
def blind(page):
  """The page before a test; chance is replaced, so that the first codec stands on the right."""
  page.evaluate("Math.random = () => 0.75; trial.choices = []; nextPair()")
  yield page
  page.evaluate("trial.queue = []; nextPair(); $('counts').hidden = true")


def _saved(page, button):
  with page.expect_download() as started:
    page.get_by_role("button", name=button).click()
  return Path(started.value.path()).read_text(encoding="utf-8")


def test_names_are_hidden_until_one_has_chosen(blind):
  section = blind.locator("#preference")
  assert not blind.locator("#trial").is_visible()
  assert blind.locator("#first").input_value() == "ours"
  blind.get_by_role("button", name="Start").click()
  _wait_for(blind, "document.getElementById('test-right').width === 96")
  assert _colour(blind, "test-left") == [64, 64, 64, 255]  # JPEG
  trial = blind.locator("#trial")
  assert "Pair 1 of 2." in trial.text_content()
  assert not any(word in trial.text_content() for word in ("ours", "JPEG", "bytes"))
  assert "ours" not in blind.locator("#trial").inner_html()
  blind.keyboard.press("o")
  _wait_for(blind, "document.getElementById('test-left').ariaLabel === 'the original'")
  assert _colour(blind, "test-left") == [0, 0, 0, 255]
  blind.keyboard.press("ArrowRight")
  assert blind.locator("#test-right-words strong").text_content() == "ours — your choice"
  assert "384\xa0bytes" in blind.locator("#test-left-words").text_content()
  assert not section.get_by_role("button", name="No difference").is_visible()


def test_choices_are_counted_and_saved(blind):
  blind.locator("#participant").fill('A "B", C')
  blind.get_by_role("button", name="Start").click()
  blind.keyboard.press("ArrowRight")
  blind.keyboard.press("Enter")  # the focus lies on “Next pair”
  assert "Pair 2 of 2." in blind.locator("#trial-words").text_content()
  blind.keyboard.press("ArrowDown")
  words = blind.locator("#counts-words").text_content()
  assert "ours 1, JPEG 0, no difference 1." in words
  assert "probability 1.000" in words
  blind.get_by_role("button", name="Done").click()
  assert not blind.locator("#trial").is_visible()
  rows = list(csv.DictReader(_saved(blind, "Choices as CSV").splitlines()))
  assert [row["preferred"] for row in rows] == ["ours", ""]
  assert {row["image"] for row in rows} == {"kodim01", "kodim02"}
  assert rows[0]["participant"] == 'A "B", C'
  assert (rows[0]["left"], rows[0]["right"], rows[0]["left_bytes"]) == ("JPEG", "ours", "384")
  saved = json.loads(_saved(blind, "Choices as JSON"))
  assert saved["counts"] == [{"codecs": ["ours", "JPEG"], "preferred": [1, 0], "no_difference": 1}]
  assert len(saved["choices"]) == 2


def test_files_of_unequal_size_are_left_out(blind):
  try:
    blind.evaluate("data.gallery[0].shown[2].met = false")
    blind.get_by_role("button", name="Start").click()
    words = blind.locator("#trial-words").text_content()
    assert "Pair 1 of 1." in words
    assert "1 image is left out: not both codecs have a file of the size." in words
    blind.evaluate("data.gallery[1].shown[2].met = false")
    blind.get_by_role("button", name="Start").click()
    assert not blind.locator("#trial").is_visible()
    assert "2 images are left out" in blind.locator("#start-words").text_content()
  finally:
    blind.evaluate("for (const image of data.gallery) image.shown[2].met = true")
    blind.evaluate("$('start-words').textContent = ''")


def test_the_blind_test_by_mouse(blind):
  blind.get_by_role("button", name="Start").click()
  blind.locator("#trial").get_by_role("button", name="4×").click()
  transform = "document.getElementById('test-left').style.transform"
  assert blind.evaluate(transform) == "translate(-150%, -150%) scale(4)"
  blind.get_by_role("button", name="← Left").click()
  assert blind.locator("#test-left-words strong").text_content() == "JPEG — your choice"
  assert blind.evaluate("[[5, 5], [0, 6], [1, 9]].map(pair => signTest(...pair))") == [
    1,
    pytest.approx(2 / 64),
    pytest.approx(22 / 1024),
  ]
  blind.locator("#second").select_option("ours")
  assert blind.get_by_role("button", name="Start").is_disabled()
  blind.locator("#second").select_option("JPEG")


def test_one_photograph_is_shown_without_empty_curves(browser, complaints, tmp_path):
  black = np.zeros((64, 96, 3), np.uint8)
  row = lambda codec: Record(codec, 1, "tree", rate_bpp=0.5, psnr_db=30.0, mse=9.0, size_bytes=384)
  missing = Picture(Record("bpg", None, "tree", status="not run: no program"), None)
  found = [Picture(row("ours"), black + 16), Picture(row("jpeg"), black + 64), missing]
  photograph.write_report(tmp_path / "a.html", "tree", black, found, overwrite=False)
  address = (tmp_path / "a.html").as_uri()
  page = _open(browser, address, complaints, "#thumbnails img", viewport=_DESKTOP)
  titles = page.locator("main h2").all()
  assert [title.text_content() for title in titles if title.is_visible()] == [
    "Pictures at equal size",
    "Which looks better?",
    "Files",
    "Codecs, settings and versions",
  ]
  assert page.locator("nav a:visible").all_text_contents() == [
    "Pictures",
    "Blind test",
    "Files",
    "Codecs",
  ]
  _wait_for(page, "document.getElementById('right-canvas').width === 96")
  assert _colour(page, "left-canvas") == [16, 16, 16, 255]
  assert page.locator("#right-name").text_content() == "JPEG"
  page.locator("#split").fill("20")
  assert _divider_share(page) == pytest.approx(0.2, abs=0.01)
