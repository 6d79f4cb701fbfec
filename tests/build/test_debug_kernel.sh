#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The debug kernel is there, built now or earlier, and both modules build for it
# without a warning.

set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tests/lib/tap.sh
. "$top/tests/lib/tap.sh"

if tap_wanted "debug kernel"; then
	# It takes a while: show how far it is.
	if "$top/tests/lib/debugkernel.py" 2>&1 | sed -u 's/^/# /' &&
		[[ ${PIPESTATUS[0]} -eq 0 ]]; then
		tap_result ok "debug kernel"
	else
		tap_result "not ok" "debug kernel"
	fi
fi
tap_quiet "modules for it with W=1" "$top/tests/lib/kernels.py" rebuild 6.1-debug
tap_end
