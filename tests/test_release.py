"""One version, and files around the package that agree with it and with each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import foveal
from foveal.cli import app
from foveal.storage.root import software_versions

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOW = REPOSITORY / ".github" / "workflows" / "tests.yml"
FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "foveal.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", foveal.__version__)
    stated = [
        path.relative_to(REPOSITORY)
        for folder in ("flows", "models", "pipeline", "storage", "foveal")
        for path in (REPOSITORY / folder).rglob("*.py")
        if f'"{foveal.__version__}"' in path.read_text(encoding="utf-8")
    ]
    assert stated == [Path("foveal/__init__.py")]


def test_command_and_provenance_tell_that_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"foveal {foveal.__version__}\n"
    assert software_versions()["foveal"] == foveal.__version__


def test_changelog_and_citation_are_of_that_version() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d\S*)\] - (\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
    citation = read_yaml(REPOSITORY / "CITATION.cff")
    assert releases[0] == (foveal.__version__, citation["date-released"])
    assert str(citation["version"]) == foveal.__version__
    assert citation["license"] == PROJECT["project"]["license"]
    assert text.index("## [Unreleased]") < text.index(f"## [{foveal.__version__}]")
    order = [tuple(map(int, version.split("."))) for version, _ in releases]
    assert order == sorted(order, reverse=True)
    links = set(re.findall(r"^\[(\S+)\]: ", text, re.MULTILINE))
    assert links == {"Unreleased", *(version for version, _ in releases)}


def test_the_workflow_tests_the_versions_of_python_that_the_package_claims() -> None:
    prefix = "Programming Language :: Python :: 3."
    claimed = {
        f"3.{each.removeprefix(prefix)}"
        for each in PROJECT["project"]["classifiers"]
        if each.startswith(prefix)
    }
    jobs = read_yaml(WORKFLOW)["jobs"]
    assert set(jobs["test"]["strategy"]["matrix"]["python"]) == claimed
    assert (
        min(claimed, key=lambda version: int(version[2:])) in PROJECT["project"]["requires-python"]
    )


def targets() -> set[str]:
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", text, re.MULTILINE))


def test_what_the_workflow_runs_is_there() -> None:
    steps = [step for job in read_yaml(WORKFLOW)["jobs"].values() for step in job["steps"]]
    ran = [step["run"] for step in steps if "run" in step]
    named = {found[1] for line in ran if (found := re.match(r"make (\w+)", line))}
    assert "test" in named
    assert named <= targets()
    for line in ran:
        for file in re.findall(r"(?:python|pytest) ((?:tools|tests)/\S+)", line):
            assert (REPOSITORY / file).exists(), line


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_pages_name_what_is_there(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        assert "://" in link or (REPOSITORY / link.split("#")[0]).exists(), link
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets()
    for file in re.findall(r"`((?:tests|tools|foveal|pipeline|models|storage)/[\w./]+)`", text):
        assert (REPOSITORY / file).exists() or (REPOSITORY / f"{file}.py").exists(), file


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_what_github_asks(form: Path) -> None:
    values = read_yaml(form)
    if form.stem == "config":
        assert set(values) <= {"blank_issues_enabled", "contact_links"}
        return
    assert values["name"]
    assert values["description"]
    names = [part["id"] for part in values["body"]]
    assert len(set(names)) == len(names)
    assert all(part["attributes"]["label"] for part in values["body"])
    required = [part.get("validations", {}).get("required", False) for part in values["body"]]
    assert any(required)


def test_hooks_run_the_tools_of_the_environment() -> None:
    (repo,) = read_yaml(REPOSITORY / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in repo["hooks"]}
    assert tools == {"ruff", "mypy"}
    development = PROJECT["project"]["optional-dependencies"]["dev"]
    assert tools <= {re.split(r"\W", each)[0] for each in development}


def test_a_release_is_refused_where_the_texts_disagree(tmp_path: Path) -> None:
    sys.path.insert(0, str(REPOSITORY / "tools"))
    try:
        import release
    finally:
        sys.path.remove(str(REPOSITORY / "tools"))
    (tmp_path / "foveal").mkdir()
    for name in ("foveal/__init__.py", "CHANGELOG.md", "CITATION.cff"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    assert release.version_of(tmp_path) == foveal.__version__
    (tmp_path / "foveal" / "__init__.py").write_text('__version__ = "9.9.9"\n')
    with pytest.raises(release.Failed, match=r"CHANGELOG\.md has no heading"):
        release.version_of(tmp_path)


def test_the_release_says_what_it_does() -> None:
    program = REPOSITORY / "tools" / "release.py"
    shown = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "clean export" in shown.stdout
