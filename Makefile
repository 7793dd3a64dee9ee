# Two targets are enough to start, `make demo` and `make test`. Both install what they need, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Some of every room: what a newer version of a dependency breaks shows here.
QUICK := tests/light tests/test_dependencies.py tests/test_cli.py tests/storage tests/torch/test_clips.py \
	tests/models/test_flow_contract.py tests/pipeline/test_decode.py tests/pipeline/test_build.py \
	tests/pipeline/test_learn_train.py tests/pipeline/report tests/flows/test_build_flow.py

export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: demo test light newest wheel faults check bench gpu serve docs setup clean

demo: $(INSTALLED)
	$(BIN)/foveal demo

test: check
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The tests of one room, or of one file, without the slow ones: make room ROOM=storage; ROOM=test_docs.py
.PHONY: room
room: $(INSTALLED)
	$(BIN)/python -m pytest tests/$(or $(ROOM),storage) -m "not slow" -n 2 --dist worksteal

# A wheel in dist/. The links of foveal/ are files in it.
wheel: $(INSTALLED)
	rm -rf dist && mkdir dist
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	rm -rf build

# What `pip install foveal` alone can do: the wheel in a clean environment, outside the clone.
light: wheel
	rm -rf $(VENV)-light && $(PYTHON) -m venv $(VENV)-light
	$(VENV)-light/bin/pip install --quiet --disable-pip-version-check dist/foveal-*.whl pytest
	$(VENV)-light/bin/pytest -p no:cacheprovider tests/light
	rm -rf $(VENV)-light

# The newest versions that pip chooses without constraints.txt. TESTS names others, or all: TESTS=tests
newest:
	rm -rf $(VENV)-newest && $(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(VENV)-newest/bin/pip install --quiet --disable-pip-version-check \
		--force-reinstall --no-deps 'opencv-contrib-python==4.13.*'
	$(VENV)-newest/bin/python -m pytest $(or $(TESTS),$(QUICK))
	rm -rf $(VENV)-newest

# Wheel and sdist in dist/, checked and tried: see CONTRIBUTING.md.
.PHONY: release
release:
	$(PYTHON) tools/release.py

# Kills, full disks, damaged files: the long form of what `make test` runs in short (docs/reliability.md).
faults: $(INSTALLED)
	FOVEAL_FAULTS=long FOVEAL_TEST_KILLS=20 $(BIN)/python -m pytest tests/faults tests/flows/test_cluster.py \
		tests/pipeline/test_learns.py tests/flows/test_lab.py tests/flows/test_deploy_files.py \
		tests/flows/test_stopping.py tests/torch/test_loader.py \
		-n 2 --timeout 7200 -s

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One table of all benchmarks: bench/results-DATE.md and .json. A quick look: make bench QUICK=1.
# Some of them, elsewhere: make bench ONLY="read tvl1" OUT=figures.md
bench: $(VENV)/.bench-installed
	$(BIN)/python -m benchmarks $(ONLY) $(if $(QUICK),--quick) $(if $(OUT),--out $(OUT))

# GPU tests and benchmarks, on a machine with CUDA. PYTHON names the Python that has PyTorch; nothing is installed.
# This writes a Markdown table: make gpu PYTHON=python3 OUT=results.md
gpu:
	$(PYTHON) benchmarks/gpu.py $(if $(OUT),--out $(OUT))

# Runs a lab's server on this machine until Ctrl-C (docs/operations.md). HOST is the name by which others reach it.
serve: $(INSTALLED)
	@$(BIN)/python -m foveal.flows.serve --host $(or $(HOST),127.0.0.1) --port $(or $(PORT),4200) --runs $(or $(RUNS),2)

# These pages as a site, in build/site: names described, blocks run, links checked. See docs/writing-docs.md.
docs: $(VENV)/.docs
	$(BIN)/python -m tools.docs.api
	$(BIN)/python -m tools.docs.run
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo 'the site: build/site/index.html'

$(VENV)/.docs: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $(VENV)/.docs

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'foveal needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	# ptlflow brings opencv-python, which has the same files but no cv2.optflow. So ours is installed last.
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt \
		--force-reinstall --no-deps opencv-contrib-python
	touch $(INSTALLED)

# The peers; torchcodec wants FFmpeg's shared libraries too, without which it is named as not measured.
$(VENV)/.bench-installed: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-light $(VENV)-newest demo build dist *.egg-info
