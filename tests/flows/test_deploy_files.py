"""The files of a deployment against what they speak of: prefect.yaml, Dockerfile, script for SLURM.

That goes as far as it can without Docker and SLURM; the script runs with an ``srun`` of ours.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from builds import recipe_values
from faults.damages import LONG
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from foveal.flows.serve import POOL, deployments
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.reader import open_store

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/Dockerfile"
SLURM = ROOT / "deploy/slurm.sh"
DEPLOYED = {
    one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
}


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_deployment_fits_its_flow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    one = DEPLOYED[name]
    flow: Any = load_flow_from_entrypoint(one["entrypoint"], use_placeholder_flow=False)
    fields = parameter_schema(flow).model_dump()["properties"]
    assert set(one["parameters"]) <= set(fields)
    assert [key for key, field in fields.items() if not field.get("description")] == []
    assert flow.validate_parameters(one["parameters"])
    recipe = one["parameters"].get("recipe", "")
    assert not recipe.startswith("recipes/") or Recipe.load(recipe)
    assert not any(schedule["active"] for schedule in one.get("schedules", ()))


def test_this_machine_serves_the_deployments_of_its_pool() -> None:
    others = {name for name in DEPLOYED if DEPLOYED[name]["work_pool"]["name"] != POOL}
    assert set(deployments(ROOT / "prefect.yaml")) == DEPLOYED.keys() - others
    assert others == {"build-docker", "build-slurm"}


def test_the_containers_settings_are_those_of_prefects_docker_pools() -> None:
    views = Path(prefect.__file__).parent / "server/api/collections_data/views"
    workers = json.loads((views / "aggregate-worker-metadata.json").read_text())
    template = workers["prefect-docker"]["docker"]["default_base_job_configuration"]
    known = template["variables"]["properties"]
    job = DEPLOYED["build-docker"]["work_pool"]["job_variables"]
    assert set(job) <= set(known)
    assert job["image_pull_policy"] in known["image_pull_policy"]["enum"]
    mounted = {volume.split(":")[1] for volume in job["volumes"]}
    used = [DEPLOYED["build-docker"]["parameters"]["recipe"], job["env"]["FOVEAL_WEIGHTS"]]
    assert all(any(path.startswith(place + "/") for place in mounted) for path in used)
    (pull,) = DEPLOYED["build-docker"]["pull"]
    (step,) = pull.values()
    assert step["directory"] in [words for word, words in instructions() if word == "WORKDIR"]


def instructions() -> list[tuple[str, str]]:
    """Instruction and rest of each line of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    parts = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(word, " ".join(rest.split())) for word, rest in parts]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path of the clone out of the image."""
    for pattern in (ROOT / ".dockerignore").read_text().split():
        tail = pattern.removeprefix("**/")
        names = path.split("/") if pattern != tail else path.split("/")[:1]
        if any(fnmatch.fnmatch(name, tail) for name in names):
            return True
    return False


def test_the_dockerfile_installs_as_the_docs_say() -> None:
    known = {"FROM", "RUN", "ENV", "WORKDIR", "COPY", "CMD"}
    words = [word for word, _ in instructions()]
    assert words[0] == "FROM"
    assert set(words) <= known
    page = (ROOT / "docs/install.md").read_text()
    runs = [rest for word, rest in instructions() if word == "RUN"]
    installs = [rest for rest in runs if rest.startswith("pip ")]
    assert len(installs) == 2
    assert all(command in page for command in installs), "as a stranger installs it by hand"
    assert installs[-1].split()[-3] == "opencv-contrib-python", "whichever comes last wins"
    floor = re.search(r'requires-python = ">=(3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert floor is not None
    assert dict(instructions())["FROM"].startswith(f"python:{floor[1]}-")
    assert [rest for word, rest in instructions() if word == "COPY"] == [". ."]
    built = DOCKERFILE.read_text().splitlines()[0]
    assert shlex.split(built)[-4:] == ["foveal", "--file", "deploy/Dockerfile", "."]


def test_what_the_image_needs_is_not_ignored() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    paths = tracked.stdout.split()
    if not paths:
        pytest.skip("this is no clone")
    for path in paths:
        top = path.split("/")[0]
        left_out = top in {"tests", "benchmarks", "notebooks"}
        assert ignored(path) is left_out, path
    for link in (path for path in (ROOT / "foveal").iterdir() if path.is_symlink()):
        assert link.exists()
        assert not ignored(link.readlink().name)
    assert {"constraints.txt", "pyproject.toml", "README.md", "LICENSE"} <= set(paths)
    assert all(ignored(path) for path in (".git/config", ".venv/bin/foveal", "demo/store.zarr"))
    assert ignored("storage/__pycache__/x.pyc")


def test_the_script_for_slurm_is_sound() -> None:
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    shellcheck = [str(Path(sys.executable).parent / "shellcheck"), str(SLURM)]
    found = subprocess.run(shellcheck, capture_output=True, text=True)
    assert found.stdout == ""
    assert os.access(SLURM, os.X_OK)
    lines = SLURM.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    body = [line for line in lines if line and not line.startswith("#")]
    assert body[0] == "set -euo pipefail"
    first = next(k for k, line in enumerate(lines) if line == body[0])
    options = [k for k, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert options
    assert max(options) < first, "sbatch reads options up to the first command"
    assert re.search(r"^#SBATCH --signal=B:TERM@\d+$", "\n".join(lines), re.MULTILINE)
    assert f"--pool {DEPLOYED['build-slurm']['work_pool']['name']} " in "\n".join(body)
    refused = subprocess.run(
        ["bash", str(SLURM)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "name a recipe, or set PREFECT_API_URL" in refused.stderr


@pytest.mark.skipif(not LONG, reason="FOVEAL_FAULTS=long runs a cluster")
def test_the_script_for_slurm_builds_a_store(raw: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_values(raw, tmp_path / "store.zarr")))
    programs = tmp_path / "bin"
    programs.mkdir()
    # Two tasks on this machine, as srun starts them on nodes.
    (programs / "srun").write_text(
        '#!/usr/bin/env bash\nshift\n"$@" & one=$!\n"$@" & other=$!\n'
        'trap \'kill "$one" "$other"\' TERM\nwait\n'
    )
    (programs / "srun").chmod(0o755)
    (programs / "hostname").write_text("#!/usr/bin/env bash\necho 127.0.0.1\n")
    (programs / "hostname").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SLURM_SUBMIT_DIR": str(tmp_path),
                   "PYTHONPATH": str(ROOT), "SLURM_CPUS_PER_TASK": "1"}  # fmt: skip
    environment.pop("PREFECT_API_URL", None)
    assert shutil.which("srun", path=path) == str(programs / "srun")
    done = subprocess.run(
        ["bash", str(SLURM), str(recipe), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert told["counts"]["complete"] == 3
    assert (open_store(str(tmp_path / "store.zarr")).videos["status"] == "complete").all()
    assert not list(tmp_path.glob(".foveal-slurm-*")), "nothing is left behind"
