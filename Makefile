# make install: set everything up.  make demo: run the workflow on the digits.  make test: run all
# linters and tests.  make test-fast: run the quick tests, which take two minutes.
# CORES=4 sets the number of processors.  PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
CORES ?= $(shell nproc)
ENVIRONMENT := .venv/installed
ACTIVATE := . .venv/bin/activate &&

.PHONY: install demo test test-fast lint unit test-slurm torture fuzz study pictures config clean distclean
.DELETE_ON_ERROR:

install: $(ENVIRONMENT)

demo: $(ENVIRONMENT)
	$(ACTIVATE) snakemake --cores $(CORES) --rerun-incomplete runs/digits/report.md runs/digits/gallery.html
	@cat runs/digits/report.md

test: lint unit

lint: $(ENVIRONMENT)
	$(ACTIVATE) ruff check . && ruff format --check . && snakefmt --check Snakefile rules
	$(ACTIVATE) lint-imports
	$(ACTIVATE) snakemake --lint

# This tests the Slurm profile if Slurm can be started (as root); only test-slurm makes nine runs. There
# are three processes, because some tests wait. Compiled modules are kept, whatever the environment
# says: hundreds of stages import them.
unit: $(ENVIRONMENT)
	$(ACTIVATE) PYTHONDONTWRITEBYTECODE= python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder -rs \
	  --ignore tests/slurm/test_nine_runs.py

# The tests that tests/conftest.py does not mark as slow.
test-fast: $(ENVIRONMENT)
	$(ACTIVATE) python -m pytest --numprocesses 2 --dist loadfile -m "not slow"

# The Slurm profile on a real Slurm of one node, which the tests start (as root) and stop. This takes
# ten minutes on two processors, most of them for nine runs and their timeline.
test-slurm: $(ENVIRONMENT)
	$(ACTIVATE) GCDFLOW_NEED_SLURM=1 python -m pytest -rs tests/slurm

# Longer tests: kills at random moments, and a hundred thousand broken files.
torture: $(ENVIRONMENT)
	$(ACTIVATE) python benchmarks/torture.py --kills 100 --seed 0

fuzz: $(ENVIRONMENT)
	$(ACTIVATE) python benchmarks/fuzz.py --inputs 100000 --seed 0

# Digits, clip art (fetches 131 MB) and MNIST with and without pseudo labels (docs/results.md). Takes hours.
# DEB=file names the Debian package openclipart-png where nothing can be fetched. `make pictures` leaves out
# the digits.
study: $(ENVIRONMENT)
	$(ACTIVATE) python benchmarks/study.py --cores $(CORES) $(if $(DEB),--deb "$(DEB)")

pictures: $(ENVIRONMENT)
	$(ACTIVATE) python benchmarks/study.py --sets clipart mnist5k --cores $(CORES) $(if $(DEB),--deb "$(DEB)")

# Write the documented defaults in config/config.yaml and the JSON schema from the settings models.
config: $(ENVIRONMENT)
	$(ACTIVATE) python workflow_scripts/gcdflow/config/reference.py

$(ENVIRONMENT): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv is missing; install it with: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(ACTIVATE) pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Delete caches of tools. Runs, logs and .snakemake (Snakemake's records of the runs) stay.
clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis .import_linter_cache workflow_scripts/*.egg-info
	find workflow_scripts tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Delete everything that a fresh clone lacks, except data and weights. Runs may be days of training,
# so this asks first.
distclean:
	@if [ "$(YES)" != 1 ]; then \
	  echo "This deletes runs, results, logs, .snakemake and .venv."; \
	  [ -t 0 ] || { echo "No terminal to ask on; make distclean YES=1 deletes them."; exit 1; }; \
	  printf "Delete them? [y/N] "; read -r answer; \
	  case "$$answer" in [yY]|[yY]es) ;; *) echo "Nothing is deleted."; exit 1;; esac; \
	fi
	$(MAKE) --no-print-directory clean
	rm -rf runs results logs .snakemake .venv
