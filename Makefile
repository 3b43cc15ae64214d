# make demo [STUDY=folder]   a study through the whole node, everything embedded
# make test                  every suite, in PROCESSES side by side; PYTEST="-k name" narrows it
# make check                 ruff, mypy, import-linter
# make bench                 our figures beside those of peers; tables, and benchmarks/results/*.json
# make bench-NAME            one of them, e.g. bench-jobs
# make gpu-check             bundles on a real card against the CPU; 1 where there is none
# make chaos               studies flow while whatever runs is killed; FAULTS=200 SEED=… ON=servers or embedded
# make chaos-reception       store while processes are killed and the disk fills; FAULTS=200 SEED=…
# make fuzz                  broken bytes into whatever reads a peer's; INPUTS=100000
# make soak                  many associations at once; OBJECTS=100000 ASSOCIATIONS=100
# make clean                 remove the environment and what was built

VENV = .venv
BIN = $(VENV)/bin
PYTHON = python3
STUDY =
PYTEST =
PROCESSES = 2
FAULTS = 200
SEED =
ON = servers embedded
INPUTS = 100000
OBJECTS = 100000
ASSOCIATIONS = 100
BENCHMARKS = startup idle_memory main_job receive send jobs index_scale volumes models stream results genomics sidecars dicomweb
SUITES = tests/unit tests/architecture tests/integration tests/acceptance
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo test check bench gpu-check chaos chaos-reception fuzz soak peers clean

demo: $(VENV)/.run
	@STUDY='$(STUDY)'; exec $(BIN)/dicom-node demo $${STUDY:+"$$STUDY"}

test: $(VENV)/.dev peers
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile $(SUITES) $(PYTEST)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@for scripts in models/*/scripts; do $(BIN)/mypy $$scripts || exit 1; done
	$(BIN)/lint-imports

# Each one runs, also when another misses its goal.
bench: $(VENV)/.dev peers
	@status=0; for name in $(BENCHMARKS); do \
	    PYTHONPATH=tests $(BIN)/python -m benchmarks.$$name || status=1; \
	done; exit $$status

bench-%: $(VENV)/.dev peers
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.$*

gpu-check: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.gpu_check

# With PostgreSQL and Redis, then with what is embedded.
chaos: $(VENV)/.dev peers
	@status=0; for on in $(ON); do \
	    PYTHONPATH=tests $(BIN)/python -m soak.everything --on $$on --faults $(FAULTS) $(if $(SEED),--seed $(SEED)) \
	        || status=1; \
	done; exit $$status

chaos-reception: $(VENV)/.dev peers
	PYTHONPATH=tests $(BIN)/python -m soak.chaos --faults $(FAULTS) $(if $(SEED),--seed $(SEED))

# Atheris has wheels for few versions of Python; without it the inputs are mutations of seeds.
fuzz: $(VENV)/.dev
	@$(PIP) --only-binary :all: atheris || echo "atheris cannot be installed: fuzzing without guidance"
	PYTHONPATH=tests $(BIN)/python -m fuzz --inputs $(INPUTS) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m soak.load --objects $(OBJECTS) --associations $(ASSOCIATIONS)

# The programs the tests talk to. Where they may not be installed the command is printed, and tests skip with it.
peers:
	@sh tests/install_peers.sh

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.run: $(VENV)/.pip pyproject.toml constraints.txt
	@echo "installing dicom-node; the first time this downloads PyTorch"
	@$(PIP) -e '.[worker,embedded]'
	@touch $@

$(VENV)/.dev: $(VENV)/.pip pyproject.toml constraints.txt
	@echo "installing dicom-node, its tests and its checks; the first time this downloads PyTorch"
	@$(PIP) -e '.[all]' --group test --group check
	@touch $@ $(VENV)/.run

$(VENV)/.pip:
	@for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11; do \
	    if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        $$python -m venv $(VENV) && $(BIN)/python -m pip --disable-pip-version-check install --quiet 'pip>=25.1' \
	            && touch $@; exit; \
	    fi; \
	done; \
	echo "no Python 3.11 or newer with venv and pip was found" >&2; \
	echo "install one (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python)," >&2; \
	echo "or name one: make PYTHON=/path/to/python3" >&2; \
	exit 1
