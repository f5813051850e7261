# Nine verbs. Each makes the virtual environment it needs; PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
NODES = test/vpr_ros/ros test/vpr_ros/demo

.PHONY: help demo slam test test-oldest test-fleet lint docs bags clean

help:
	@echo "make demo   localise three drives through a small town on real ROS 2 topics; report in demo/report.html"
	@echo "make slam   close loops by day and by night for a pose graph; report in demo/slam/report.html (Python 3.11 on)"
	@echo "make test   the whole test suite"
	@echo "make test-oldest   command line, localiser, loop closer and node with the oldest versions (Python 3.10 and 3.12)"
	@echo "make test-fleet   builds on a Ray cluster, and the lake of a fleet"
	@echo "make lint   ruff and mypy"
	@echo "make docs   the documentation site in site/; fails on a broken link"
	@echo "make bags   render the demo's drives again (needs EGL: apt install libegl1 libgl1-mesa-dri)"
	@echo "make clean  remove the virtual environments and what the demo wrote"

demo: $(VENV)/.demo
	@$(BIN)/vpr demo

slam: $(VENV)/.test
	@$(BIN)/vpr demo slam

test: $(VENV)/.test
	@echo "== running the tests; those of nodes, which wait for processes most of the time, beside the others"
	@$(BIN)/python -m pytest $(NODES) >$(VENV)/nodes.log 2>&1 & nodes=$$!; status=0; \
	$(BIN)/python -m pytest $(addprefix --ignore=,$(NODES)) || status=$$?; \
	wait $$nodes || status=$$?; cat $(VENV)/nodes.log; exit $$status

test-oldest:
	@$(PYTHON) tools/test_oldest.py $(VENV)-oldest $(if $(filter file,$(origin PYTHON)),,$(PYTHON))

# Ray and LanceDB take a minute to install, and few users have them: in the other tests they are skipped.
test-fleet: $(VENV)-fleet/.installed
	@$(VENV)-fleet/bin/python -m pytest test/vpr_ros/fleet

lint: $(VENV)/.test
	@echo "== ruff and mypy"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: $(VENV)-docs/.installed
	@echo "== building the documentation"
	@NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict
	@echo "site/index.html"

bags: $(VENV)/.test
	@$(BIN)/python tools/make_demo_bags.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 10) <= v <= (3, 13) and \
		f"vpr_ros runs on Python 3.10 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}: try make PYTHON=python3.12 ...")'
	@echo "== making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV) || (echo "cannot make a virtual environment: install the venv module (Debian: apt install python3-venv)"; exit 1)

$(VENV)/.demo: $(VENV)/bin/python setup.cfg
	@echo "== installing ROS 2 and what the robot needs (about 400 MB, once)"
	@$(PIP) install -e ".[ros]"
	@touch $@

$(VENV)/.test: $(VENV)/.demo tools/install_torch.py tools/build_messages.py
	@echo "== installing what tests, simulator and training need (once)"
	@$(PIP) install -e ".[ros,ros-build,sim,slam,dev]"
	@$(BIN)/python tools/install_torch.py
	@$(BIN)/python tools/build_messages.py || echo "tests of typed messages will be skipped"
	@$(PIP) install -e ".[gpu]" || echo "tests that build TensorRT engines will be skipped"
	@touch $@

# Neither ROS nor the package itself is needed: the pages are made of its source.
$(VENV)-docs/.installed: setup.cfg
	@echo "== installing MkDocs (once)"
	@$(PYTHON) -m venv $(VENV)-docs
	@$(VENV)-docs/bin/python -m pip --disable-pip-version-check install --quiet $$($(PYTHON) tools/extra.py docs)
	@touch $@

$(VENV)-fleet/.installed: setup.cfg
	@echo "== installing Ray and LanceDB (once)"
	@$(PYTHON) -m venv $(VENV)-fleet
	@$(VENV)-fleet/bin/python -m pip --disable-pip-version-check install --quiet -e . pytest
	@$(VENV)-fleet/bin/python -m pip --disable-pip-version-check install --quiet -e ".[fleet]" || echo "these tests will be skipped"
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest-* $(VENV)-docs $(VENV)-fleet site demo/slam demo/results.json demo/report* demo/*.vprmap* demo/*.csv demo/*.tum demo/*.jsonl build install log
