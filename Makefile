# Everything from a bare checkout with Python 3.11 or later and make. After make clean, PYTHON=python3.12 make test takes another interpreter.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PROJECT := settings.ini setup.py pyproject.toml
FOLDER ?=

.PHONY: demo test lab bench kats legibility readme clean help

help:
	@echo "make demo    two months of scanned claims, a failing scanner, the alert that names it, its recovery"
	@echo "make test    install everything, then prove everything"
	@echo "make lab     JupyterLab on the notebooks"
	@echo "make bench   speed and memory beside the rivals, in an environment of its own"
	@echo "make legibility  pages, OCR runs, model and proof of the expected error, some three hours on two cores;"
	@echo "             SCANS=folder proves it on scans with NAME.gt.txt too, SHOW=folder says what the gate makes of other pictures"
	@echo "make kats    an environment for Kats' CUSUM, the optional comparison in the tutorial"

# uv, where pip can bring it, installs in seconds; plain pip does the same, slower.
define venv
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or later, found none; install one or say make PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) || { rm -rf $(1); echo "$(PYTHON) cannot make a virtual environment; Debian needs the package python3-venv"; exit 2; }
	@$(1)/bin/python -m uv --version >/dev/null 2>&1 || $(1)/bin/python -m pip install -q --disable-pip-version-check uv || echo "no uv here, pip does"
endef
define install
	@if $(1)/bin/python -m uv --version >/dev/null 2>&1; then $(1)/bin/python -m uv pip install -q -p $(1)/bin/python $(2); \
	 else $(1)/bin/python -m pip install -q --disable-pip-version-check $(2); fi
endef

.venv/demo.done: $(PROJECT)
	$(call venv,.venv)
	$(call install,.venv,-e .)
	@touch $@

.venv/all.done: $(PROJECT)
	$(call venv,.venv)
	$(call install,.venv,-e '.[all]')
	@touch $@ .venv/demo.done

demo: .venv/demo.done
	.venv/bin/ocr-quality demo $(FOLDER)

test: .venv/all.done
	.venv/bin/python tools/check.py

lab: .venv/all.done
	cd nbs && ../.venv/bin/jupyter lab

bench:
	$(call venv,.venv-bench)
	$(call install,.venv-bench,-e . torch torchvision piq)
	-@.venv-bench/bin/python -m uv pip uninstall -q -p .venv-bench/bin/python opencv-python-headless opencv-contrib-python-headless 2>/dev/null || .venv-bench/bin/python -m pip uninstall -q -y opencv-python-headless opencv-contrib-python-headless
	$(call install,.venv-bench,opencv-contrib-python-headless)
	.venv-bench/bin/python benchmarks/run.py

# Pages, 6,700 readings by Tesseract, signs, model, reasons and proof; taken up again where it stopped. The recogniser of letters is taught by tools/glyphs.py.
legibility: .venv/all.done
	.venv/bin/python tools/legibility_data.py --out .legibility
	$(if $(SCANS),.venv/bin/python tools/legibility_data.py --out .legibility --real $(SCANS))
	.venv/bin/python tools/legibility_table.py .legibility
	.venv/bin/python tools/legibility_fit.py .legibility/table.parquet
	.venv/bin/python tools/legibility_reasons.py .legibility/table.parquet ocr_quality/images/data/reasons.npz
	.venv/bin/python tools/legibility_proof.py .legibility/table.parquet --splits a,b,c,d,e,f --out nbs/tutorials/legibility_proof.json $(if $(SHOW),--show $(SHOW))

kats:
	$(call venv,.venv)
	.venv/bin/python tools/kats.py

readme: .venv/all.done
	.venv/bin/python tools/readme.py

clean:
	rm -rf .venv .venv-* build dist *.egg-info
