# make test    set up, build and run all tests (PYTEST_ARGS='-n 0 test/core' and others)
# make demo    set up, build and track an object in a video
#              (VIDEO=file or camera number, BOX=x,y,width,height in its first frame,
#              DEMO_ARGS='further options', see docs/demo.md)
# make stress  set up, build and stress the installed node for an hour, see docs/reliability.md
#              (STRESS_ARGS='--quick --minutes 2' and others)
# make setup   only make the environment .venv (PYTHON=python3, TORCH='arguments for pip install')
# make build   only build the package into install/
# make lint    check the style (ruff) and the types (mypy)
# make graphs  make the graphs of packaged weights again (MODEL=re3_lite), see docs/engines.md
# make docs    build the documentation as a web site into site/
# make clean   remove everything that was built; make distclean: the environment, too

PYTHON ?= python3
SOURCES := $(shell find re3_core re3_ros re3_web training launch config examples resource \
	-name __pycache__ -prune -o -print 2>/dev/null) LICENSE NOTICE package.xml setup.cfg setup.py

.PHONY: all setup build test demo stress lint graphs docs clean distclean

all: build

setup:
	@command -v $(PYTHON) >/dev/null || { echo 'setup: $(PYTHON) not found' >&2; exit 1; }
	@$(PYTHON) scripts/setup_env.py $(if $(TORCH),--torch '$(TORCH)')

build: install/.built

install/.built: $(SOURCES) | setup
	@echo 'build: re3_ros ...'
	@scripts/build.sh

# A process for each core; the tests of one file run in one of them.
test: build
	@OMP_NUM_THREADS=1 scripts/in_env.sh python -m pytest -n logical --maxprocesses 8 \
		--dist loadfile $(PYTEST_ARGS)

demo: build
	@scripts/in_env.sh install/re3_ros/lib/re3_ros/demo --output demo_output \
		$(if $(VIDEO),--video '$(VIDEO)') $(if $(BOX),--box '$(BOX)') $(DEMO_ARGS)

stress: build
	@scripts/in_env.sh bash -c 'PYTHONPATH=test:$$PYTHONPATH exec python -m stress "$$@"' stress \
		--output stress_output $(STRESS_ARGS)

lint: setup
	@scripts/in_env.sh ruff check .
	@scripts/in_env.sh mypy

graphs: setup
	@scripts/in_env.sh python -m re3_core.export --packaged $(if $(MODEL),--model '$(MODEL)') \
		--calibration $(addprefix .venv/share/re3_demo/,bikes.mp4 carphone_pristine.mp4 \
		bigbuckbunny.mp4)

docs: setup
	@NO_MKDOCS_2_WARNING=1 scripts/in_env.sh mkdocs build --quiet --strict

clean:
	rm -rf build install log site demo_output .pytest_cache .ruff_cache .mypy_cache .hypothesis

distclean: clean
	rm -rf .venv .venv.lock
