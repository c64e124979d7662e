# Everything that a person does with this checkout. `make` alone prints what there is.
# Environments are made on demand by local/setup and then kept; a changed requirements file remakes its own.

.NOTPARALLEL:
.DEFAULT_GOAL := help
SHELL := /bin/sh

# The Python to start from: the first 3.11 that runs. Override with PYTHON=/path/to/python3.11.
find_python = for candidate in python3.11 python3 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	&& { command -v $$candidate; break; }; done
PYTHON := $(or $(PYTHON),$(shell $(find_python)),python3)

SET_UP := $(PYTHON) -m local.setup
PRODUCT := .venv/bin/python
TRAINER := .venv-trainer/bin/python

# Extra words for the program behind a target: make test ARGS="-k ledger -x"
ARGS ?=

product_tests := $(wildcard tests/unit tests/contract tests/integration tests/e2e tests/sdk)
trainer_tests := $(wildcard tests/trainer)
soak_tests := $(wildcard tests/soak/test_*.py)
benchmarks := bench-converter bench-curation bench-waiting bench-trainer bench-coldstart bench-canary
# mypy refuses a folder without any Python in it.
with_python = $(foreach folder,$(1),$(if $(wildcard $(folder)/*.py $(folder)/*/*.py),$(folder)))
product_code := $(call with_python,functions/tuner console local bench deploy) $(wildcard functions/*/main.py)
test_code := $(call with_python,$(filter-out $(trainer_tests),$(wildcard tests/*)))
trainer_code := $(call with_python,trainer_image $(trainer_tests)) bench/trainings/*.py
shell_scripts := $(wildcard *.sh .ci/run */*.sh */*/*.sh)

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## the whole pipeline on this machine, with real training, no account and no GPU
	@$(SET_UP) product trainer base-model
	@$(PRODUCT) -m local.demo $(ARGS)

.PHONY: environments
environments: ## make the virtual environments and the base model, and nothing else
	@$(SET_UP) product trainer sdk nf4 base-model

# pytest exits 5 when it ran no test: fine for one half when ARGS selects tests of the other.
.PHONY: test
test: environments ## all tests but the soak; ARGS goes to pytest
	@product=0; trainer=0; \
	$(PRODUCT) -m pytest -n auto --dist loadfile $(product_tests) $(ARGS) || product=$$?; \
	$(if $(trainer_tests),$(TRAINER) -m pytest -n auto --dist loadfile $(trainer_tests) $(ARGS) || trainer=$$?;) \
	case "$(if $(ARGS),$$product-$$trainer)" in 0-5 | 5-0) exit 0 ;; esac; \
	if [ $$product -ne 0 ]; then exit $$product; fi; \
	exit $$trainer

.PHONY: soak
soak: ## the long proofs
	@$(SET_UP) product trainer base-model
	@$(if $(soak_tests),$(PRODUCT) -m pytest -n auto --dist loadfile tests/soak -m soak $(ARGS),echo "no soak test in this checkout")

.PHONY: container-test
container-test: ## build the trainer's image for a CPU and train inside it; needs podman, no daemon
	@$(SET_UP) product trainer base-model
	@TUNER_CONTAINER_TEST=1 $(TRAINER) -m pytest tests/trainer/test_container.py -rs $(ARGS)

# A benchmark is a module of bench/ that runs; the peers that it compares with live in .venv-bench.
.PHONY: bench $(benchmarks)
bench: $(benchmarks) ## every benchmark, or one of them: make bench-converter; ARGS="--quick"

bench_parts := bench
bench-trainer: bench_parts := trainer bench-trainer base-model
bench-coldstart: bench_parts :=
bench-canary: bench_parts := trainer base-model

$(benchmarks): bench-%:
	@$(SET_UP) product $(bench_parts)
	@$(PRODUCT) -m bench.$* $(ARGS)

.PHONY: check
check: ## format, lint, types, shell scripts; changes nothing
	@$(SET_UP) product trainer
	@echo "ruff: format"; $(PRODUCT) -m ruff format --check --quiet . \
	|| { echo "make format puts these right"; $(PRODUCT) -m ruff format --check .; }
	@echo "ruff: lint"; $(PRODUCT) -m ruff check .
	@echo "mypy: functions, console, local, bench, tests"; $(PRODUCT) -m mypy $(product_code) $(test_code)
	@echo "mypy: trainer"; MYPYPATH=trainer_image:. $(PRODUCT) -m mypy \
	--cache-dir .mypy_cache/trainer --python-executable $(TRAINER) $(trainer_code)
	@if command -v shellcheck >/dev/null; then echo shellcheck; shellcheck $(shell_scripts); \
	else echo "shellcheck: SKIPPED, not installed"; fi
	@if [ -x .venv/bin/hadolint ]; then echo hadolint; .venv/bin/hadolint trainer_image/Dockerfile; \
	else echo "hadolint: SKIPPED, not installed"; fi
	@if command -v shfmt >/dev/null; then echo shfmt; shfmt -d -i 2 $(shell_scripts); \
	else echo "shfmt: SKIPPED, not installed"; fi

.PHONY: format
format: ## put format and import order right
	@$(SET_UP) product
	@$(PRODUCT) -m ruff format .
	@$(PRODUCT) -m ruff check --select I --fix .

.PHONY: clean
clean: ## remove what make made; what you made (.demo, bench/out) stays
	@for made in .venv .venv-trainer .venv-sdk .venv-nf4 .venv-bench .venv-bench-trainer .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build \
	*.egg-info; do \
	if [ -e "$$made" ]; then echo "removing $$made"; rm -rf "$$made"; fi; done
	@find . -name __pycache__ -not -path './.demo/*' -prune -exec rm -rf {} +
	@if [ -e .demo ]; then echo "keeping .demo (the runs and files of your demos)"; fi
