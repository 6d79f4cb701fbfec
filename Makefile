# SPDX-License-Identifier: GPL-2.0
#
# "make help" lists the targets.  What the modules are made of is in Kbuild.

# Debian's headers of another architecture are fetched, unpacked in the cache.
ifeq ($(ARCH)-$(filter aarch64,$(shell uname -m)),arm64-)
KDIR	?= $(shell tests/lib/kernels.py headers 6.1-arm64)
CROSS_COMPILE ?= aarch64-linux-gnu-
export ARCH CROSS_COMPILE
# So are the libraries of usbctl, which is linked with nothing else then.
tools install: export STATIC = 1
tools install: export PKG_CONFIG_SYSROOT_DIR = $(shell tests/lib/libraries.py 6.1-arm64)
tools install: export PKG_CONFIG_LIBDIR = \
	$(PKG_CONFIG_SYSROOT_DIR)/usr/lib/aarch64-linux-gnu/pkgconfig
endif
KDIR	?= /lib/modules/$(shell uname -r)/build
PREFIX	?= /usr/local
CACHE	:= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/usbif

# The demo reads these from its environment, so that any character may be in them.
export FILE BREAK ONLY HOURS SEED SECONDS SIDE

modules:
	@test -e $(KDIR)/Makefile || { \
		echo "no kernel build tree at $(KDIR): install the headers of your kernel"; \
		echo "(Debian: linux-headers-amd64) or give KDIR=/path/to/it" >&2; exit 1; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

modules_install: modules
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules_install

tools:
	$(MAKE) -C tools

install: tools
	$(MAKE) -C tools install PREFIX=$(PREFIX)

dtbs:
	@for f in dts-overlays/*.dtso; do \
		dtc -q -@ -I dts -O dtb -o "$${f%.dtso}.dtbo" "$$f" || exit 1; done

# What the targets below need of Debian's packages.
setup:
	@tests/lib/setup.sh

demo: setup
	@tests/demo/demo.py

test: setup
	@tests/run

test-long: setup
	@LONG=1 tests/run --resume

bench: setup
	@tests/bench/bench.py

deadlines: setup
	@tests/bench/deadlines.py

soak: setup
	@tests/soak/soak.py

neighbour: setup
	@tests/bench/neighbour.py

fuzz: setup
	@tests/debug/fuzz.py

check: setup
	@tests/check.sh

coverage: setup
	@tests/lib/coverage.py

mutate: setup
	@tests/mutate/mutate.py

fuzz-corpus: setup
	@tests/fuzz/corpus.sh

clean:
	@rm -rf dts-overlays/*.dtbo *.o *.ko *.mod *.mod.c .*.cmd modules.order Module.symvers .tmp_versions
	@for d in ring usbback usbfront; do rm -f $$d/*.o $$d/.*.cmd $$d/*.mod; done
	@find tests -name __pycache__ -type d -exec rm -rf {} +
	@for d in tools tests; do \
		if [ -e $$d/Makefile ]; then $(MAKE) -s -C $$d clean; fi; done

clean-cache:
	rm -rf $(CACHE)

help:
	@echo 'modules          usbback.ko and usbfront.ko for the running kernel, KDIR=... or ARCH=arm64'
	@echo 'modules_install  install them below /lib/modules'
	@echo 'tools            usbctl; ARCH=arm64: tools/usbctl-static-arm64'
	@echo 'install          install usbctl and its manual page below PREFIX=$(PREFIX)'
	@echo 'dtbs             device tree overlays (dtc)'
	@echo 'demo             show it all at work in emulated machines (FILE=path, BREAK=usbfront)'
	@echo 'test             run the tests (ONLY=regex: programs or cases)'
	@echo 'test-long        the same with larger counts; goes on where it was broken off'
	@echo 'soak             everything at random for HOURS=n, machines dying (SEED=n)'
	@echo 'fuzz             write the rings of both modules at random, for SECONDS=n (SEED=n, SIDE=usbback)'
	@echo 'bench            measure, in emulated machines'
	@echo 'deadlines        measure what may take how long at most (ROUNDS=n)'
	@echo 'neighbour        measure what is left for others while a guest attacks'
	@echo 'check            checkpatch, sparse, builds with W=1, shellcheck and more'
	@echo 'coverage         which lines and branches of ring/ are tested'
	@echo 'mutate           whether the tests miss any check of ring/ (JOBS=N)'
	@echo 'fuzz-corpus      make the inputs kept for the fuzzers anew (FUZZ_SECONDS=N)'
	@echo 'clean            remove what was built here'
	@echo 'clean-cache      remove fetched kernels and all else kept in $(CACHE)'

.DEFAULT_GOAL := modules
.PHONY: modules modules_install tools install dtbs setup demo test test-long soak fuzz bench deadlines \
	neighbour check coverage mutate fuzz-corpus clean clean-cache help
