"""Build wheel and sdist from a clean export of git, check them, and try the wheel as a stranger.

    make release                       # or: python tools/release.py [--out dist] [--commit HEAD]

Needs git, a network for pip, and Python 3.11 or newer; nothing is installed into the environment
that runs it. Uploads nothing: in the end it prints what to do next. Exit status 1 where a check
fails, with the reason in a line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
ROOMS = ("flows", "models", "pipeline", "storage")
"""Folders of the clone that the package reaches by links, ``foveal/flows -> ../flows``."""
DATA = ("recipes", "experiments")
FIXTURE = "tests/data/first_edition.tar.xz"
"""A store made by the first edition, which every release reads."""


class Failed(Exception):
    """A check that did not hold; the message says which and what to do."""


def run(*words: str | os.PathLike[str], cwd: Path, quiet: bool = True) -> str:
    """What a command printed.

    Raises
    ------
    Failed
        Where it ends with another status than 0.
    """
    # Nothing of the clone may take the place of what is installed.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        words, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise Failed(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}")
    if not quiet:
        print(done.stdout, end="")
    return done.stdout


def version_of(tree: Path) -> str:
    """The version that a tree states, once it is also that of CHANGELOG.md and CITATION.cff."""
    stated = re.search(
        r'^__version__ = "(.+)"$', (tree / "foveal" / "__init__.py").read_text("utf-8"), re.M
    )
    if stated is None:
        raise Failed('foveal/__init__.py has no line __version__ = "…"')
    version = stated[1]
    changes = (tree / "CHANGELOG.md").read_text("utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changes, re.M):
        raise Failed(f"CHANGELOG.md has no heading `## [{version}] - YYYY-MM-DD`")
    if f"\nversion: {version}\n" not in (tree / "CITATION.cff").read_text("utf-8"):
        raise Failed(f"CITATION.cff does not say `version: {version}`")
    return version


def export(commit: str, tree: Path) -> None:
    """Write the files of a commit, and nothing else, into an empty folder."""
    archive = tree.with_suffix(".tar")
    run("git", "archive", "--format", "tar", "--output", archive, commit, cwd=REPOSITORY)
    with tarfile.open(archive) as packed:
        packed.extractall(tree, filter="data")
    archive.unlink()
    for name in (*ROOMS, *DATA):
        if not (tree / "foveal" / name).is_dir():
            raise Failed(
                f"foveal/{name} is no link to a folder: this system, or git's core.symlinks, turns "
                "links into text files; release from Linux or macOS"
            )


def wanted_files(tree: Path) -> set[str]:
    """Names inside the wheel of everything that the package is made of."""
    found = {
        path.relative_to(tree).as_posix()
        for path in (tree / "foveal").rglob("*.py")
        if not path.is_symlink()
    }
    for room in ROOMS:
        found |= {
            f"foveal/{path.relative_to(tree).as_posix()}" for path in (tree / room).rglob("*.py")
        }
    for folder in DATA:
        found |= {f"foveal/{folder}/{path.name}" for path in (tree / folder).glob("*.yaml")}
    for templates in (tree / "pipeline").rglob("templates"):
        found |= {
            f"foveal/{path.relative_to(tree).as_posix()}"
            for path in templates.rglob("*")
            if path.is_file()
        }
    return found | {"foveal/py.typed"}


def contents(wheel: Path) -> dict[str, int]:
    """CRC-32 of each file of a wheel but those that name its own making."""
    with zipfile.ZipFile(wheel) as packed:
        for each in packed.infolist():
            if stat.S_ISLNK(each.external_attr >> 16):
                raise Failed(f"{wheel.name} holds a link, {each.filename}")
        return {
            each.filename: each.CRC
            for each in packed.infolist()
            if not each.filename.endswith((".dist-info/RECORD", ".dist-info/WHEEL"))
        }


def check_wheel(wheel: Path, from_tree: Path, tree: Path, version: str) -> None:
    """The wheel holds the package, whole, and is the same by way of the sdist and without it."""
    inside, direct = contents(wheel), contents(from_tree)
    about = f"foveal-{version}.dist-info/"
    missing = sorted(wanted_files(tree) - set(inside))
    if missing:
        raise Failed(f"{wheel.name} lacks {len(missing)} files, among them {missing[:3]}")
    foreign = sorted(name for name in inside if not name.startswith(("foveal/", about)))
    if foreign:
        raise Failed(f"{wheel.name} would install {foreign[:3]} beside foveal")
    if about + "licenses/LICENSE" not in inside:
        raise Failed(f"{wheel.name} holds no licence")
    differing = sorted(
        name for name in inside.keys() | direct if inside.get(name) != direct.get(name)
    )
    if differing:
        raise Failed(
            f"the wheels built from the sdist and from the tree differ in {differing[:3]}; "
            "is something missing in MANIFEST.in?"
        )


def check_sdist(sdist: Path, version: str) -> None:
    """The sdist holds plain files alone, with the texts that belong to a release."""
    with tarfile.open(sdist) as packed:
        members = packed.getmembers()
    links = [each.name for each in members if each.issym() or each.islnk()]
    if links:
        raise Failed(f"{sdist.name} holds links, among them {links[:3]}")
    names = {each.name for each in members}
    for text in ("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "constraints.txt"):
        if f"foveal-{version}/{text}" not in names:
            raise Failed(f"{sdist.name} lacks {text}: name it in MANIFEST.in")


def new_environment(folder: Path) -> Path:
    """A fresh virtual environment's folder of programs."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def try_wheel(wheel: Path, work: Path, version: str) -> str:
    """Install the wheel into a clean environment, and read a store with it outside the clone."""
    programs = new_environment(work / "reader")
    run(programs / "python", "-m", "pip", "install", "--quiet", wheel, cwd=work)
    said = run(programs / "foveal", "--version", cwd=work).strip()
    if said != f"foveal {version}":
        raise Failed(f"the installed command says {said!r}, not 'foveal {version}'")
    with tarfile.open(work / "tree" / FIXTURE) as packed:
        packed.extractall(work / "store", filter="data")
    stores = sorted(path.parent for path in (work / "store").rglob("index.parquet"))
    for store in stores:
        run(programs / "foveal", "inspect", store, cwd=work)
        run(programs / "foveal", "verify", store, cwd=work)
        program = "import foveal, sys; print(len(foveal.open_store(sys.argv[1]).videos))"
        if int(run(programs / "python", "-c", program, store, cwd=work)) < 1:
            raise Failed(f"{store.name} is read, but shows no video")
    listed = json.loads(run(programs / "python", "-m", "pip", "list", "--format", "json", cwd=work))
    size = sum(p.stat().st_size for p in (work / "reader").rglob("*") if not p.is_symlink())
    return f"{len(listed)} packages, {size / 1e6:.0f} MB"


def release(commit: str, out: Path, work: Path) -> None:
    """All steps in order, each said with its seconds."""
    began = time.monotonic()

    def say(done: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {done}", flush=True)

    changed = run("git", "status", "--porcelain", cwd=REPOSITORY).splitlines()
    if changed:
        raise Failed(f"{len(changed)} uncommitted changes ({changed[0]}, …): commit or stash them")
    tree = work / "tree"
    commit = run("git", "rev-parse", "--short", f"{commit}^{{commit}}", cwd=REPOSITORY).strip()
    export(commit, tree)
    version = version_of(tree)
    say(f"exported {commit}: foveal {version}, as CHANGELOG.md and CITATION.cff have it")

    programs = new_environment(work / "tools")
    python = programs / "python"
    run(python, "-m", "pip", "install", "--quiet", "build", "twine", cwd=work)
    built, direct = work / "built", work / "direct"
    run(python, "-m", "build", "--outdir", built, tree, cwd=work)  # the wheel from the sdist
    say("built the sdist, and from it the wheel")
    run(python, "-m", "build", "--wheel", "--outdir", direct, tree, cwd=work)
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    check_wheel(wheel, next(direct.glob("*.whl")), tree, version)
    check_sdist(sdist, version)
    say("the wheel is whole, holds no links, and is the same without the sdist")
    run(python, "-m", "twine", "check", "--strict", wheel, sdist, cwd=work)
    say("twine takes both")
    installed = try_wheel(wheel, work, version)
    say(f"installed the wheel in a clean environment and read a store: {installed}")

    out.mkdir(parents=True, exist_ok=True)
    for file in (wheel, sdist):
        shutil.copy2(file, out / file.name)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        print(f"{digest}  {out / file.name}  {file.stat().st_size / 1e6:.1f} MB")
    print(
        f"\nNext:\n  git tag -a v{version} -m 'foveal {version}' {commit}\n"
        f"  git push origin v{version}\n"
        f"  twine upload {out / wheel.name} {out / sdist.name}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commit", default="HEAD", help="what to release (default: HEAD)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist", help="default: dist")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="foveal-release-") as work:
        try:
            release(arguments.commit, arguments.out.absolute(), Path(work).resolve())
        except Failed as error:
            print(f"release: {error}", file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    main()
