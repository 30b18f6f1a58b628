# Every target works alone on a fresh machine: it makes its own environment. Needed: make, and Python 3.11 with venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PARITY := .venv-parity
WHEEL := .venv-wheel
BIN := $(VENV)/bin
# Strict: a link, an anchor or a page of the navigation that leads nowhere is an error.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
BENCH ?=  # options of benchmarks/run.py
BENCHMARK ?= benchmark
FILES ?= 2000
RESULTS ?=  # options of benchmarks/shipped.py
MEDIA ?=
WEIGHTS ?= build/weights

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs fuzz parity bench gpu results weights clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(VENV)/.installed  ## Analyse the samples in examples/ and compare what is found with what is true
	rm -rf demo-out
	$(BIN)/pipeline run --input examples --out demo-out
	$(BIN)/python examples/compare.py demo-out examples/truth.json

# One thread a process: the networks of the tests are tiny, and threads of two processes would fight over the cores.
test: $(VENV)/.installed-dev  ## Run the tests, those in a browser where Chromium is or can be installed
	@sh tests/browser/install.sh
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

lint: $(VENV)/.installed-dev  ## Check style, types and documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks tools
	$(MKDOCS) --site-dir build/site

docs: $(VENV)/.installed-dev  ## Build the documentation into site/
	$(MKDOCS)
	@echo "open site/index.html"

fuzz: $(VENV)/.installed-dev  ## Decode FILES=2000 mutated media files: nothing may crash, hang or go unsaid
	PYTHONPATH=.:tests/support $(BIN)/python tests/support/fuzz.py --files $(FILES)

parity: $(PARITY)/.installed $(WHEEL)/.installed  ## Compare TSN with mmaction2's, and scores with AV-Deepfake1M's wheel, in environments of their own
	$(PARITY)/bin/python -m pytest tests/parity/test_tsn_parity.py --confcutdir=tests/parity -m mmaction
	$(WHEEL)/bin/python -m pytest tests/parity/test_wheel_parity.py --confcutdir=tests/parity -m wheel -o junit_family=xunit1 --junitxml=build/wheel-parity.xml

bench: $(VENV)/.installed-dev $(PARITY)/.installed  ## Measure speeds as ratios to a peer or a limit, all in one run
	$(BIN)/python benchmarks/run.py --parity $(PARITY)/bin/python $(BENCH)

gpu: $(VENV)/.installed-dev  ## Test all that runs on a GPU against the processor, then measure its speed
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		$(BIN)/pytest -m cuda tests/gpu && $(BIN)/python benchmarks/gpu.py $(BENCH); \
	else echo "not run: no CUDA"; fi

results: $(VENV)/.installed  ## Measure the shipped weights on the sets below BENCHMARK=dir (docs/benchmark.md)
	$(BIN)/python benchmarks/shipped.py --benchmark $(BENCHMARK) $(RESULTS)

weights: $(VENV)/.installed-dev  ## Make the shipped weights from nothing, out of the media in MEDIA=dir, into WEIGHTS=dir
	@test -n "$(MEDIA)" || { echo "name the folder of media: make weights MEDIA=dir"; exit 1; }
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[forge]'
	PIPELINE=$(BIN)/pipeline PYTHON=$(BIN)/python sh tools/make_weights.sh "$(MEDIA)" "$(WEIGHTS)"

clean:  ## Remove environments, caches and outputs
	rm -rf $(VENV) $(PARITY) $(WHEEL) demo-out pipeline-out site build dist *.egg-info
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none was found"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# A development environment holds all that the demo needs, so neither target undoes the other.
$(VENV)/.installed: $(VENV)/.made setup.cfg pyproject.toml constraints.txt
	@test $(VENV)/.installed-dev -nt setup.cfg -a $(VENV)/.installed-dev -nt constraints.txt || \
		$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made setup.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,docs]'
	@touch $@

# mmaction2 needs pkg_resources, which the setuptools of constraints.txt no longer has.
$(PARITY)/.installed: tests/parity/requirements.txt constraints.txt
	$(PYTHON) -m venv $(PARITY)
	grep -v '^setuptools==' constraints.txt > $(PARITY)/constraints.txt
	$(PARITY)/bin/python -m pip install --quiet -c $(PARITY)/constraints.txt -r tests/parity/requirements.txt
	@touch $@

# The wheel without its dependencies: its package asks for Lightning and an old numpy, which its evaluation does not need.
$(WHEEL)/.installed: tests/parity/requirements-wheel.txt constraints.txt
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python -m pip install --quiet -c constraints.txt -r tests/parity/requirements-wheel.txt
	$(WHEEL)/bin/python -m pip install --quiet --no-deps avdeepfake1m==0.0.4
	@touch $@
