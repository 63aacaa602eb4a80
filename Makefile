# Needs only make and Python >= 3.10 (make PYTHON=/path/to/python3 for another one than python3).
# Everything else goes into .venv; a stamp there says what is installed already.
PYTHON ?= python3
RUN := .venv/bin/python -m
STAMP := .venv/.stamp

.DELETE_ON_ERROR:
.PHONY: help demo test lint bench docs format labextension screenshots clean system-demo system-test
# a user-wide PIP_USER=1 or PIP_TARGET would install past the environment
unexport PIP_USER PIP_TARGET PIP_PREFIX PYTHONHOME PYTHONPATH

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP)-demo system-demo  ## See it work: the demo notebook, on a machine made here
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/jupyter gpu-remote demo

test: $(STAMP)-test system-test  ## Run the tests (ARGS="-k name" for some of them)
	@$(MAKE) --no-print-directory labextension || echo "missing: the part for JupyterLab; its tests are skipped"
	$(RUN) pytest -q -n 3 --dist loadfile $(ARGS)

lint: $(STAMP)-lint labextension  ## Check style, types and layers
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	.venv/bin/lint-imports
	PATH="$(CURDIR)/.venv/bin:$$PATH" jlpm lint

format: $(STAMP)-lint labextension  ## Mend what can be mended by itself
	$(RUN) ruff check --fix
	$(RUN) ruff format
	PATH="$(CURDIR)/.venv/bin:$$PATH" jlpm format

labextension: $(STAMP)-bundle  ## Build the part for JupyterLab; Node.js comes along
	.venv/bin/python tools/bundle.py

bench: $(STAMP)-bench system-test  ## Measure us and the peers; writes benchmarks/results/latest.json
	.venv/bin/python benchmarks/run.py --json

docs: $(STAMP)-docs  ## Build the documentation into site/
	$(RUN) mkdocs build --strict -q

screenshots: $(STAMP)-screenshots labextension  ## Take the pictures of the documentation; needs Chromium
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(RUN) tools.screenshots

clean:  ## Remove what make made
	rm -rf .venv site build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	rm -rf node_modules .yarn labextension/lib jupyter_gpu_remote/labextension

system-demo: | $(STAMP)-venv
	@tools/system_packages ssh rsync

system-test: | $(STAMP)-venv
	@tools/system_packages ssh rsync git sshd ip fusermount3

$(STAMP)-venv: tools/make_venv.py
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) here; Python 3.10 or newer is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) tools/make_venv.py .venv
	# the pip that comes with Python 3.11 searches for hours for versions of boto3 and s3fs that agree
	$(RUN) pip install -q --disable-pip-version-check --upgrade 'pip>=25'
	@touch $@

# -demo, -test, -bundle, -heavy, -lint, -bench, -docs and -screenshots are the extras of pyproject.toml
$(STAMP)-%: pyproject.toml $(STAMP)-venv
	$(RUN) pip install -q --disable-pip-version-check 'hatchling>=1.27' editables
	# without isolation: there pip would fetch Node.js, which an editable install does not need
	$(RUN) pip install -q --disable-pip-version-check --no-build-isolation -e '.[$*]'
	@touch $@
