"""Hooks of mkdocs: the pages of ``docs/`` as a site, with the repository's files that they name.

Pages link to files of the repository as GitHub shows them (``../recipes``). On the site each such
file is a page of its own, and so are CONTRIBUTING.md and CHANGELOG.md. A block that is not run
says so above it.
"""

from __future__ import annotations

import json
import os.path
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[2]
ROOT_PAGES = {"CONTRIBUTING.md": "Contributing", "CHANGELOG.md": "Changes"}
FOLDER = "repository"
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "sh", ".json": "json"}
MAX_EMBEDDED_BYTES = 100_000

_NAMED_BY_FILE = re.compile(r"\[([\w/-]+\.md)\](?=\(([^)\s#]+))")
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^ *(```|~~~~).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"^<!-- not run: (.*?) -->$", re.MULTILINE)
_OUTPUT = re.compile(r"^<!-- output(?:: \d+ lines)? -->$", re.MULTILINE)
_OTHER_MARKS = re.compile(r"^<!-- (?:prepare|picture): .*? -->\n", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add pages of the repository's root to the navigation, where they are there."""
    develop = next(part["Develop"] for part in config.nav or [] if "Develop" in part)
    develop.extend(
        {title: f"{FOLDER}/{name}"}
        for name, title in ROOT_PAGES.items()
        if (REPOSITORY / name).exists()
    )
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file and folder of the repository that a page links to."""
    wanted = [REPOSITORY / name for name in ROOT_PAGES if (REPOSITORY / name).exists()]
    for page in Path(config.docs_dir).rglob("*.md"):
        wanted += _outside(page, page.read_text("utf-8"))
    done: set[Path] = set()
    while wanted:
        path = wanted.pop()
        if path in done:
            continue
        done.add(path)
        content = _shown(path)
        if path.suffix == ".md":
            wanted += _outside(path, content)
        # Reached by links alone; root pages are put into the navigation by `on_config`.
        inclusion = InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, _address(path), content=content, inclusion=inclusion))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Rewrite links that lead out of ``docs/``, and show the comments of code blocks."""
    source = _source(page.file, config)
    if source is not None:
        here = posixpath.dirname(page.file.src_uri)
        markdown = _NAMED_BY_FILE.sub(lambda link: _titled(link, source), markdown)
        markdown = _links(markdown, source, here)
    markdown = _NOT_RUN.sub(
        r'<p class="not-run">Not run when this page was made: \1.</p>\n', markdown
    )
    markdown = _OUTPUT.sub('<p class="output-of">It prints:</p>\n', markdown)
    return _OTHER_MARKS.sub("", markdown)


def _titled(link: re.Match[str], source: Path) -> str:
    """A link that has a file's name as its text, with the title of that page instead."""
    target = source.parent / link[2]
    if not target.exists():
        return link[0]
    title = re.search(r"^# (.+)$", target.read_text("utf-8"), re.MULTILINE)
    return f"[{title[1]}]" if title else link[0]


def _source(file: File, config: MkDocsConfig) -> Path | None:
    """The Markdown file that a page is made from; None for pages without links of their own."""
    if not file.src_uri.startswith(f"{FOLDER}/"):
        return Path(config.docs_dir) / file.src_uri
    name = file.src_uri.removeprefix(f"{FOLDER}/")
    return REPOSITORY / name if (REPOSITORY / name).exists() else None


def _targets(source: Path, text: str) -> dict[str, Path]:
    """Files of the repository that a page links to, by link."""
    found = {}
    for link, _anchor in _LINK.findall(_FENCE.sub("", text)):
        if "://" not in link and not link.startswith(("/", "mailto:")):
            target = Path(os.path.normpath(source.parent / link))
            if target.exists() and target.is_relative_to(REPOSITORY):
                found[link] = target
    return found


def _outside(source: Path, text: str) -> list[Path]:
    docs = REPOSITORY / "docs"
    return [path for path in _targets(source, text).values() if not path.is_relative_to(docs)]


def _links(markdown: str, source: Path, here: str) -> str:
    targets = _targets(source, markdown)
    docs = REPOSITORY / "docs"

    def changed(link: re.Match[str]) -> str:
        path = targets.get(link[1])
        if path is None:
            return link[0]
        inside = path.is_relative_to(docs)
        address = path.relative_to(docs).as_posix() if inside else _address(path)
        return os.path.relpath(address, here or ".") + (link[2] or "")

    return _LINK.sub(changed, markdown)


def _address(path: Path) -> str:
    name = path.relative_to(REPOSITORY).as_posix()
    if path.is_dir():
        return f"{FOLDER}/{name}/index.md"
    if path.suffix == ".md":
        return f"{FOLDER}/{name}"
    if path.suffix in (".png", ".svg"):
        return f"{FOLDER}/{name}"
    return f"{FOLDER}/{name}.md"


def _shown(path: Path) -> str:
    """The page of a file or folder."""
    name = path.relative_to(REPOSITORY).as_posix()
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file() and _is_text(file))
        if sum(file.stat().st_size for file in inside) > MAX_EMBEDDED_BYTES:
            names = "\n".join(f"- `{file.relative_to(path).as_posix()}`" for file in inside)
            return f"# {name}\n\nThe folder `{name}` of the repository holds:\n\n{names}\n"
        parts = [f"## {file.relative_to(path).as_posix()}\n\n{_code(file)}" for file in inside]
        return f"# {name}\n\nThe folder `{name}` of the repository.\n\n" + "\n".join(parts)
    if path.suffix == ".md":
        return path.read_text("utf-8")
    if path.suffix == ".ipynb":
        return _notebook(path)
    return f"# {path.name}\n\nThe file `{name}` of the repository.\n\n{_code(path)}"


def _is_text(file: Path) -> bool:
    return (
        file.suffix in {*LANGUAGES, ".md", ".txt", ".csv", ".cfg"}
        and "__pycache__" not in file.parts
    )


def _code(file: Path) -> str:
    language = LANGUAGES.get(file.suffix, "text")
    return f"~~~~~~ {language}\n{file.read_text('utf-8')}\n~~~~~~\n"


def _notebook(path: Path) -> str:
    """A notebook's text and code, without outputs."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    parts = [f"*The notebook `{path.relative_to(REPOSITORY).as_posix()}`, without its outputs.*"]
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"~~~~~~ python\n{text}\n~~~~~~")
    heading = next((part for part in parts if part.startswith("# ")), None)
    if heading is None:
        return f"# {path.stem}\n\n" + "\n\n".join(parts) + "\n"
    return "\n\n".join([heading, *(part for part in parts if part is not heading)]) + "\n"
