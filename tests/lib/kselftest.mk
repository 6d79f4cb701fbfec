# SPDX-License-Identifier: GPL-2.0
#
# What the kernel's selftests/Makefile asks of a directory of tests, as its lib.mk
# has it:
#
#	all, clean	in OUTPUT
#	run_tests	by the kernel's runner if KSELFTEST=.../tools/testing/selftests
#			is given, else one after the other
#	install		programs and settings in INSTALL_PATH
#	emit_tests	their lines for kselftest-list.txt, in collection COLLECTION
#
# The directory's Makefile says TEST_GEN_PROGS, how they are made in OUTPUT, and
# then includes this.

OUTPUT	?= .

TEST_GEN_PROGS := $(addprefix $(OUTPUT)/,$(TEST_GEN_PROGS))

all: $(TEST_GEN_PROGS)

run_tests: all
ifneq ($(KSELFTEST),)
	@BASE_DIR=$(KSELFTEST); . $(KSELFTEST)/kselftest/runner.sh; \
		run_many $(TEST_GEN_PROGS)
else
	@for prog in $(TEST_GEN_PROGS); do \
		echo "# selftests: $$(basename $$prog)"; \
		$$(realpath $$prog) || [ $$? -eq 4 ] || failed=1; \
	done; [ -z "$$failed" ]
endif

install: all
	$(if $(INSTALL_PATH),,$(error Error: set INSTALL_PATH to use install))
	@install -d $(INSTALL_PATH)
	install $(TEST_GEN_PROGS) $(INSTALL_PATH)
	$(if $(wildcard settings),install -m 644 settings $(INSTALL_PATH))

emit_tests:
	@for prog in $(TEST_GEN_PROGS); do \
		echo "$(COLLECTION):$$(basename $$prog)"; \
	done

.PHONY: all run_tests install emit_tests clean
