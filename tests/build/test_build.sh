#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Both modules build without a warning for each kernel, and so do the tools.

set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tests/lib/tap.sh
. "$top/tests/lib/tap.sh"

tools() {
	local dir rc

	dir=$(mktemp -d) || return
	make -s -C "$top/tools" O="$dir" all
	rc=$?
	rm -rf "$dir"
	return "$rc"
}

for series in 6.1 6.12; do
	"$top/tests/lib/kernels.py" path $series >/dev/null || {
		echo "Bail out! kernel $series could not be fetched"
		exit 1
	}
	tap_quiet "modules for $series with W=1" \
		"$top/tests/lib/kernels.py" rebuild $series
done
tap_quiet "tools" tools
tap_end
