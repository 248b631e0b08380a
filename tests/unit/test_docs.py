"""The links and pictures of README, the notes and the pages in docs/ lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
  list(ROOT.glob("*.md"))
  + [path for path in ROOT.glob("docs/**/*.md") if "api" not in path.relative_to(ROOT).parts]
  + list(ROOT.glob("cae_jax/**/*.md"))
)
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_CODE = re.compile(r"^ {4}[^\n]*$|^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def _targets(page: Path) -> list[str]:
  """Where the page's links and pictures lead within the repository."""
  links = _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8")))
  return [link for link in links if not re.match(r"[a-z][a-z0-9+.-]*:", link)]


def _anchors(page: Path) -> set[str]:
  """The fragments of a page's headings, as GitHub makes them."""
  heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
  return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _broken(page: Path, target: str) -> bool:
  path, _, fragment = target.partition("#")
  found = (page.parent / path).resolve() if path else page
  if not found.exists() or ROOT not in (found, *found.parents):
    return True
  return bool(fragment) and fragment not in _anchors(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
  assert [target for target in _targets(page) if _broken(page, target)] == []


@pytest.mark.parametrize(
  "page", [page for page in PAGES if "lab" not in page.parts], ids=lambda page: page.name
)
def test_files_that_are_named_are_there(page):
  """Lab files may name what was there on their day."""
  named = re.findall(
    r"`([\w/]+\.(?:py|flags|ipynb|safetensors))`", page.read_text(encoding="utf-8")
  )
  there = [
    f"/{path.relative_to(ROOT).as_posix()}"
    for folder in ("cae_jax", "docs", "experiments", "tests")
    for path in (ROOT / folder).rglob("*")
  ]
  missing = {n for n in named if not any(path.endswith(f"/{n}") for path in there)}
  assert missing - {"weights.safetensors"} == set()


def test_links_are_found_and_checked(tmp_path):
  page = tmp_path / "page.md"
  page.write_text(
    '# A head, of `one`\n[a](b.md) ![c](d.png "x") [e](https://f.g) `[h](i.md)`\n'
    "    [k](code.md)\n[j](#a-head-of-one)\n[l](#another)\n"
  )
  assert _targets(page) == ["b.md", "d.png", "#a-head-of-one", "#another"]
  assert _anchors(page) == {"a-head-of-one"}


def test_every_picture_is_shown():
  shown = {
    (page.parent / target).resolve()
    for page in PAGES
    for target in _targets(page)
    if target[0] != "#"
  }
  pictures = {
    path for folder in ("figures", "ablations") for path in (ROOT / "docs" / folder).iterdir()
  }
  assert {str(path.relative_to(ROOT)) for path in pictures - shown} == set()


def test_the_notes_are_an_index():
  assert len((ROOT / "BUILD_NOTES.md").read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize(
  "path", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=lambda p: p.stem
)
def test_a_decision_is_one_screen_and_answers_five_questions(path):
  text = path.read_text(encoding="utf-8")
  assert text.startswith(f"# {path.name[:3]} ")
  heads = re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE)
  assert heads == ["Question", "Choice", "Figure", "Rejected", "Status"]
  assert len(text.splitlines()) <= 40


def test_decisions_are_numbered_one_by_one():
  numbers = [path.name[:3] for path in sorted((ROOT / "docs" / "decisions").glob("0*.md"))]
  assert numbers == [f"{i + 1:03d}" for i in range(len(numbers))]


def test_the_index_of_decisions_has_their_titles():
  folder = ROOT / "docs" / "decisions"
  heads = [p.read_text(encoding="utf-8").partition("\n")[0] for p in sorted(folder.glob("0*.md"))]
  lines = re.findall(
    r"^\| \[(\d+)\]\(\1-.*\) \| (.*) \|$", (folder / "README.md").read_text("utf-8"), re.M
  )
  assert [f"# {number} {title}" for number, title in lines] == heads


def test_the_lab_index_names_every_file():
  folder = ROOT / "docs" / "lab"
  files = {path.name for path in folder.glob("*.md")} - {"README.md"}
  assert {target for target in _targets(folder / "README.md") if "/" not in target} == files
  assert all(re.match(r"20\d\d-\d\d-\d\d-[\w-]+\.md$", name) for name in files)
