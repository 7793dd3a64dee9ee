"""The prose against the code: links, commands, keys and examples that it names are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from foveal.cli import app
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.recipe.section import DatasetSection, Section
from tools.docs.api import DIRECTIVE, load, missing
from tools.docs.blocks import PageError, read_blocks
from tools.docs.docstrings import as_markdown
from tools.docs.run import normalised

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
NAMES = {page: page.relative_to(REPOSITORY).as_posix() for page in PAGES}
RECIPES = REPOSITORY / "docs" / "recipes.md"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language ("" for plain ones)."""
    return [
        body for name, body in FENCE.findall(page.read_text(encoding="utf-8")) if name == language
    ]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Page and words of each ``foveal`` command line in a block; placeholders included."""
    for page in PAGES:
        for block in [*blocks(page, ""), *blocks(page, "sh")]:
            for line in block.splitlines():
                line = line.removeprefix("nohup ").removeprefix("$ ")
                if line.startswith("foveal ") and "…" not in line:
                    words = shlex.split(line.split(" > ")[0], comments=True)
                    yield NAMES[page], words[1:]


COMMANDS = list(commands())


def sections(kind: Any = Recipe) -> Iterator[type[Section]]:
    """Every section model that a recipe can hold, the recipe first."""
    if isinstance(kind, type) and issubclass(kind, Section):
        yield kind
        for field in kind.model_fields.values():
            yield from sections(field.annotation)
    else:
        for part in get_args(kind):
            yield from sections(part)


SECTIONS = sorted(set(sections()), key=lambda model: model.__name__)


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_fences_are_closed_and_tables_are_even(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^```", text, re.MULTILINE)) % 2 == 0
    width = None
    for line in FENCE.sub("", text).splitlines():
        columns = len(re.split(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert None in (width, columns) or columns == width, line
        width = columns


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor:
            text = target.read_text(encoding="utf-8")
            headings = HEADING.findall(FENCE.sub("", text))
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            slugs |= set(DIRECTIVE.findall(text))
            assert anchor in slugs, link


def test_the_readme_shows_commands() -> None:
    assert len([page for page, _ in COMMANDS if page == "README.md"]) > 10


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{p}:{w[0]}" for p, w in COMMANDS])
def test_commands_parse(page: str, words: list[str]) -> None:
    name, *arguments = words
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert name in known, f"{page}: foveal {name}"
    known[name].make_context(name, list(arguments))


def test_every_command_is_in_the_readme() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert re.search(rf"(foveal|make) {name}\b", text), f"foveal {name} is not in README.md"


def test_overrides_of_the_examples_fit_their_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    tried = 0
    for _, (name, *arguments) in COMMANDS:
        ready = [word for word in arguments if word.startswith("recipes/")]
        if name == "build" and ready:
            pairs = pairwise(arguments)
            overrides = [value for option, value in pairs if option == "--set"]
            Recipe.load(ready[0], overrides)
            tried += bool(overrides)
    assert tried >= 3


def test_a_command_that_is_not_there_is_usage() -> None:
    assert CliRunner().invoke(app, ["bulid"]).exit_code == 2


def tables() -> list[set[str]]:
    """Keys that each table of the page on recipes explains in its first column."""
    found: list[set[str]] = [set()]
    for line in RECIPES.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            found[-1].update(re.findall(r"`(\w+)`", line.split("|")[1]))
        elif found[-1]:
            found.append(set())
    return found


@pytest.mark.parametrize("section", SECTIONS, ids=lambda model: model.__name__)
def test_every_key_of_a_recipe_is_explained(section: type[Section]) -> None:
    keys = set(section.model_fields)
    explained = tables()
    if issubclass(section, DatasetSection):
        keys -= set(DatasetSection.model_fields) | {"kind", "ground_truth"}
        assert any(set(DatasetSection.model_fields) | {"kind"} == table for table in explained)
        assert {"ground_truth"} in explained
    assert any(keys <= table for table in explained), keys


def test_example_recipes_in_the_docs_parse() -> None:
    examples = [yaml.safe_load(block) for page in PAGES for block in blocks(page, "yaml")]
    whole = [example for example in examples if "store" in example]
    assert whole
    for example in whole:
        Recipe.parse(example)
    for example in examples:
        Recipe.parse({"store": "x.zarr", **example})


@pytest.mark.parametrize("page", PAGES[1:], ids=NAMES.get)
def test_blocks_keep_the_conventions(page: Path) -> None:
    """Commands stand in blocks that ``make docs`` runs, or say why they are not run."""
    for block in read_blocks(page, page.read_text(encoding="utf-8")):
        if block.kind == "python" and block.not_run is None:
            compile(block.text, f"{page}:{block.line}", "exec")
        if block.kind == "output":
            assert block.text.strip(), f"{page}:{block.line} has no output: run make docs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```text\nfoveal build\n```\n", "belong into a ```sh block"),
        ("<!-- not run: x -->\n```text\nfoveal\n```\n", "only blocks of"),
        ("<!-- not run -->\n```sh\nfoveal\n```\n", "write <!-- not run"),
        ("<!-- output -->\n```sh\nfoveal\n```\n", "```text block"),
        ("<!-- output -->\n", "has no block"),
        ("```ruby\nputs 1\n```\n", "neither run"),
    ],
)
def test_pages_against_the_conventions_are_named(text: str, message: str) -> None:
    with pytest.raises(PageError, match=message):
        list(read_blocks(Path("page.md"), text))


def test_outputs_are_compared_without_times_and_sizes() -> None:
    old = "601  2026-11-28T10:35:37Z   0.4 s  14.3 MB  fa7ce3676886\n"
    assert normalised(old) == normalised("601 2027-01-02T03:04:05Z  12.0 s 9.1 MB  0123456789ab")
    assert normalised(old) != normalised(old.replace("601", "602"))


def test_outputs_that_need_no_store_are_up_to_date() -> None:
    """The others take minutes: ``make docs`` compares them."""
    checked = 0
    for page in PAGES[1:]:
        command = ""
        for block in read_blocks(page, page.read_text(encoding="utf-8")):
            if block.kind == "sh":
                command = block.text.strip()
            elif block.kind == "output" and command in ("foveal plugins", "foveal --help"):
                printed = CliRunner().invoke(app, shlex.split(command)[1:]).stdout.splitlines()
                shown = "\n".join(printed[: block.lines]) + ("\n…" if block.lines else "")
                assert normalised(block.text) == normalised(shown), f"run make docs: {page}"
                checked += 1
    assert checked


def test_the_site_lists_every_page() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        name = page.relative_to(REPOSITORY / "docs").as_posix()
        assert name in text, f"{name} is not in the nav of mkdocs.yml"


def test_the_reference_names_no_object_twice() -> None:
    names = [name for page in PAGES for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))]
    assert len(names) > 50
    assert len(names) == len(set(names))


def test_docstrings_become_markdown() -> None:
    docstring = "First line.\n\n::\n\n    code = 1\n\n====  ====\na     b\n``c`` d e\n====  ===="
    assert as_markdown(docstring) == (
        "First line.\n\n\n    code = 1\n\n| | |\n|---|---|\n| a | b |\n| ``c`` | d e |"
    )


def test_names_and_parameters_without_a_description_are_found(tmp_path: Path) -> None:
    (tmp_path / "foveal").mkdir()
    (tmp_path / "foveal" / "__init__.py").write_text(
        '''"""Head."""

def good(path, more=1):
    """Read `path`.

    Parameters
    ----------
    more : int
        So many.
    """

def bad(path, more):
    """Read.

    Parameters
    ----------
    more : int
    """

class Thing:
    """A thing.

    Attributes
    ----------
    size : int
        In pixels.
    """

    size = 1
    colour = 2

    def act(self): ...

def _private(path): ...
'''
    )
    found = missing(load(tmp_path), ["foveal", "foveal.gone"])
    assert [line.split(": ", 1)[1] for line in found] == [
        "parameter path of foveal.bad is not described",
        "parameter more of foveal.bad is not described",
        "attribute foveal.Thing.colour is not described",
        "function foveal.Thing.act has no docstring",
        "foveal.gone does not exist",
    ]
