# Each target works in a fresh clone on a bare Debian with Python 3.11 and its venv module. "make help" lists them.
PYTHON ?= python3
IMAGE ?= examples/synthetic-knee.png

# The radiographs that files of bundles are compared on; where the folder is absent, synthetic pictures take their place.
DATA ?= ../shared/data
PROFILE ?= standard
THREADS ?= $(shell nproc)

.PHONY: help predict device test test-fast lint bundles ensemble grades figures clean

# The main job: installs the runtime alone and answers for a picture. make predict IMAGE=path/to/image.png
predict: .venv-run/installed ## an answer for one picture: make predict IMAGE=path/to/image.png
	.venv-run/bin/osteo-edge predict "$(IMAGE)" || [ $$? -eq 4 ]

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# What it costs on this very device, into benchmarks/results/NAME: make device NAME=raspberry-pi-5. Twenty minutes or more; two with PROFILE=quick.
# LiteRT takes part where there is a wheel of it.
device: .venv-run/installed ## what it costs on this machine: make device NAME=raspberry-pi-5
	@test -n "$(NAME)" || { echo "name the device: make device NAME=raspberry-pi-5"; exit 2; }
	.venv-run/bin/pip install --quiet --constraint constraints.txt ai-edge-litert || echo "without LiteRT"
	mkdir -p "benchmarks/results/$(NAME)"
	.venv-run/bin/osteo-edge doctor | tee "benchmarks/results/$(NAME)/doctor.txt"
	.venv-run/bin/osteo-edge bench --profile $(PROFILE) --engine onnxruntime,litert --precision fp32,fp16,int8 --threads 1,$(THREADS) \
		--json "benchmarks/results/$(NAME)/bench.json"

# Installs what the tests need and runs them all.
test: lint ## every test and the checks of style and types
	.venv/bin/python -m pytest

# The everyday tests: what takes a fresh environment or a training run is left out.
test-fast: .venv/installed ## the everyday tests
	.venv/bin/python -m pytest -m "not slow"

lint: .venv/installed ## style and types alone
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# The bundles that are too large for the wheel, from the committed weights and measurements: the same model files to the byte with
# radiographs and without. With them (DATA=FOLDER) every file is compared on them, without on synthetic pictures.
bundles: .venv/installed dist/knee-cnn_ensemble.zip dist/knee-convnext_tiny.zip ## the bundles that are too large for the wheel, into dist/

RADIOGRAPHS = $(if $(wildcard $(DATA)/knee),--data $(DATA)/knee $(addprefix --unlabelled ,$(wildcard $(DATA)/knee_unlabelled)),$(NO_RADIOGRAPHS))
# Whoever names a folder is told that it is another; the default one may be absent.
NO_RADIOGRAPHS = $(if $(filter-out file,$(origin DATA)),$(if $(DATA),$(error DATA=$(DATA): there are no radiographs, no folder "knee"; name another folder, or give DATA= to do without)))
# What was measured of just these files; another processor may make files that differ in a last digit: EVIDENCE= leaves it out.
EVIDENCE = --portability export/results/$*/portability.json --latency export/results/$*/latency.json

dist/%.zip: train/results/%/run.json train/results/%/fusion.json export/results/%/plan.json export/results/%/measured.npz \
		$(wildcard export/*.py export/quantization/*.py)
	.venv/bin/python -m export bundle --run train/results/$* --finder train/results/knee-finder/finder.npz \
		--data-card export/data_cards/knee-xray-osteoporosis-database.toml --plan export/results/$*/plan.json \
		--measured export/results/$*/measured.npz $(EVIDENCE) $(RADIOGRAPHS) --output dist/$* --coverage 0.9 --zip --force

# The stacked bundle of grades, from the committed weights and measurements. Needs the graded knees and those without a label under DATA.
ensemble: .venv/installed ## the stacked bundle of grades, into dist/
	.venv/bin/python -m export bundle --run train/results/knee-osteoarthritis-ensemble --finder train/results/knee-finder/finder.npz \
		--data $(DATA)/knee_oa --unlabelled $(DATA)/knee_unlabelled --data-card export/data_cards/knee-osteoarthritis-severity-grading.toml \
		--plan export/results/knee-osteoarthritis-ensemble/plan.json --measured export/results/knee-osteoarthritis-ensemble/measured.npz \
		--latency export/results/knee-osteoarthritis-ensemble/latency.json --coverage 0.9 --output dist/knee-osteoarthritis-ensemble --zip --force

# The embedded bundle of grades from a run's weights: calibrated, judged, reduced within the budget, measured on its own files and packed.
# Needs the graded knees, knees without a label and films of whole knees under DATA; an hour on two busy cores, most of it the search.
# ARM64 names an emulated machine (export/portability/prepare_arm64.sh): what int8 files differ by there is what their self-test allows.
GRADED_RESULTS = export/results/knee-osteoarthritis
GRADED_RUN = --run train/results/$(RUN) --finder train/results/knee-finder/finder.npz --data $(DATA)/knee_oa
PACK_GRADES = $(EXPORT) bundle $(GRADED_RUN) --data-card export/data_cards/knee-osteoarthritis-severity-grading.toml --coverage 0.9 \
	--plan $(GRADED_RESULTS)/plan.json --measured $(GRADED_RESULTS)/measured.npz --unlabelled $(DATA)/knee_unlabelled --force
grades: EXPORT = .venv/bin/python -m export
grades: .venv/installed ## the embedded bundle of grades from a run's weights: make grades RUN=knee-osteoarthritis-mobilenet_v2-taught
	@test -n "$(RUN)" || { echo "name the run: make grades RUN=knee-osteoarthritis-mobilenet_v2-taught"; exit 2; }
	.venv/bin/python -m train judge-grades --run train/results/$(RUN) --data $(DATA)/knee_oa
	$(EXPORT) plan $(GRADED_RUN) --unlabelled $(DATA)/knee_unlabelled --max-drop 0.005 --min-agreement 0.97 --prefer speed --output $(GRADED_RESULTS)/plan.json
	$(EXPORT) measure $(GRADED_RUN) --plan $(GRADED_RESULTS)/plan.json --output $(GRADED_RESULTS)/measured.npz
	$(PACK_GRADES) --output dist/knee-osteoarthritis
	$(EXPORT) portability --bundle dist/knee-osteoarthritis --data $(DATA)/knee $(addprefix --arm64 ,$(ARM64)) --output $(GRADED_RESULTS)/portability.json
	.venv/bin/python -m benchmarks engines --bundle dist/knee-osteoarthritis --json $(GRADED_RESULTS)/latency.json
	$(PACK_GRADES) --latency $(GRADED_RESULTS)/latency.json --output dist/knee-osteoarthritis
	.venv/bin/python -m benchmarks stability --bundle dist/knee-osteoarthritis --data $(DATA)/knee --data $(DATA)/knee_oa/val --json $(GRADED_RESULTS)/stability.json
	$(PACK_GRADES) --portability $(GRADED_RESULTS)/portability.json --latency $(GRADED_RESULTS)/latency.json --stability $(GRADED_RESULTS)/stability.json \
		--output osteo_edge/bundles/knee-osteoarthritis
	$(EXPORT) report --bundle osteo_edge/bundles/knee-osteoarthritis --output $(GRADED_RESULTS)/report.html

# The figures of docs/benchmarks.md that are of grades of osteoarthritis, and how steady bundles are: what was measured, the page and its
# pictures in one go, into benchmarks/results/NAME. GRADED may name further bundles, the embedded one first.
GRADED ?= knee-osteoarthritis
figures: NAME ?= epyc-2core-vm
figures: MEASURE = .venv/bin/python -m benchmarks
figures: RESULTS = benchmarks/results/$(NAME)
figures: .venv/installed ## the measured figures of grades in docs/benchmarks.md: make figures NAME=epyc-2core-vm
	$(MEASURE) grades $(addprefix --bundle ,$(GRADED)) --data $(DATA)/knee_oa --json $(RESULTS)/grades.json --page docs/benchmarks.md --chart docs/grades.png
	$(MEASURE) external $(addprefix --bundle ,$(GRADED)) --data $(DATA)/knee_unlabelled --learnt $(DATA)/knee_oa --json $(RESULTS)/external.json --page docs/benchmarks.md
	$(MEASURE) saliency --bundle $(firstword $(GRADED)) --data $(DATA)/knee_oa --json $(RESULTS)/saliency.json --page docs/benchmarks.md --chart docs/saliency.png
	$(MEASURE) questions --bundle knee-mobilenet_v2 --bundle $(firstword $(GRADED)) --json $(RESULTS)/questions.json --page docs/benchmarks.md
	$(MEASURE) stability --bundle $(firstword $(GRADED)) --data $(DATA)/knee --data $(DATA)/knee_oa/val --json export/results/$(notdir $(firstword $(GRADED)))/stability.json --page docs/benchmarks.md
	$(MEASURE) stability --bundle knee-mobilenet_v2 --data $(DATA)/knee --json export/results/knee-mobilenet_v2/stability.json --page docs/benchmarks.md

.venv-run/installed: pyproject.toml setup.py constraints.txt $(shell find osteo_edge -type f -not -path "*/__pycache__/*")
	$(PYTHON) -m venv .venv-run
	.venv-run/bin/pip install --quiet --constraint constraints.txt --force-reinstall .
	touch $@

.venv/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean: ## remove environments and builds
	rm -rf .venv .venv-run build dist *.egg-info
