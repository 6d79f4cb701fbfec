# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# TAP for test programs in bash:
#
#	. "$(dirname "$0")/../lib/tap.sh"
#	tap_case "name" command args...		passes if the command returns 0
#	tap_quiet "name" command args...	and only if it prints nothing
#	tap_end					prints the plan, ends the script

tap_number=0
tap_status=0
tap_out=$(mktemp)
trap 'rm -f "$tap_out"' EXIT

echo "TAP version 13"

tap_result() {
	tap_number=$((tap_number + 1))
	echo "$1 $tap_number - $2"
	[[ $1 == ok ]] || tap_status=1
}

tap_wanted() {
	[[ -z ${USBIF_ONLY:-} || $1 =~ $USBIF_ONLY ]]
}

tap_case() {
	local name=$1
	shift

	tap_wanted "$name" || return 0
	if "$@" >"$tap_out" 2>&1; then
		tap_result ok "$name"
	else
		sed 's/^/# /' "$tap_out"
		tap_result "not ok" "$name"
	fi
}

tap_quiet() {
	local name=$1
	shift

	tap_wanted "$name" || return 0
	if "$@" >"$tap_out" 2>&1 && [[ ! -s $tap_out ]]; then
		tap_result ok "$name"
	else
		sed 's/^/# /' "$tap_out"
		tap_result "not ok" "$name"
	fi
}

tap_end() {
	echo "1..$tap_number"
	exit $tap_status
}
