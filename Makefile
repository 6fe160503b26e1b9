# Everything from nothing: the only needs are make and Python 3.11 or newer (with its venv module). uv is used where it is found.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
UV := $(shell command -v uv 2>/dev/null)

.PHONY: help demo serve test check lock vendor clean

help:
	@echo "make demo    a demo company from nothing, then the pages on http://127.0.0.1:8000 (ARGS='--bind 127.0.0.1:9000')"
	@echo "make test    the tests, on SQLite unless DATABASE_URL says otherwise (ARGS='-k webhook')"
	@echo "make serve   the product with the database that is there"
	@echo "make check   what CI runs, without installing anything on the system"
	@echo "make lock    resolves requirements.txt and requirements-dev.txt anew (needs uv)"
	@echo "make vendor  fetches the browser's files anew from npm packages (the result is in the repository)"

demo: $(VENV)/.installed
	@$(BIN)/python manage.py demo $(ARGS)

serve: $(VENV)/.installed
	@$(BIN)/python manage.py serve $(ARGS)

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.installed-dev
	@.ci/run --quick

# The compile runs in the project's folder, for every platform, for the oldest Python that we support. No index address may get in.
lock:
	@test -n "$(UV)" || { echo "make lock needs uv: https://docs.astral.sh/uv/"; exit 1; }
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.txt
	$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

vendor: $(VENV)/.installed-dev
	@$(BIN)/python dashboard/static/vendor/fetch.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache test-artefacts

# ---- the environment: made once, made anew when its Python is gone, filled when a requirements file changes ----

# A stamp holds the file that was installed, so a fresh checkout with the same requirements installs nothing.
$(VENV)/.installed: requirements.txt
	@$(call install,requirements.txt,$@)

$(VENV)/.installed-dev: requirements-dev.txt
	@$(call install,requirements-dev.txt,$@)

define install
	set -e; \
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		&& { test -n "$(UV)" || $(BIN)/python -m pip --version >/dev/null 2>&1; }; then \
		if cmp -s $(1) $(2); then touch $(2); exit 0; fi; \
	else \
		python=""; \
		for name in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
			if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
		done; \
		if test -z "$$python"; then \
			echo "Python 3.11 or newer was not found. Install it (Debian: apt install python3 python3-venv),"; \
			echo "or name it: make PYTHON=/path/to/python3.12"; exit 1; \
		fi; \
		rm -rf $(VENV); \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		if test -n "$(UV)"; then \
			"$(UV)" venv -q --no-project --python "$$("$$python" -c 'import sys; print(sys.executable)')" $(VENV); \
		else \
			"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
				echo "$$python has no venv module. Install it (Debian: apt install python3-venv) and run make again."; exit 1; }; \
			"$$python" -m venv $(VENV); \
		fi; \
	fi; \
	echo "Installing $(1) (about a minute the first time)"; \
	if test -n "$(UV)"; then \
		"$(UV)" pip install -q --python $(BIN)/python --require-hashes -r $(1); \
	else \
		PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -q --require-hashes -r $(1); \
	fi; \
	cp $(1) $(2)
endef
