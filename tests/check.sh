#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What can be said of the sources without running them; prints TAP.

set -u
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 1
# shellcheck source=tests/lib/tap.sh
. tests/lib/tap.sh

# There is no MAINTAINERS file to be kept.  The rest is advice for kernel code
# that a program can't follow.
kernel_ignore=FILE_PATH_CHANGES
user_ignore=$kernel_ignore,PREFER_KERNEL_TYPES,SSCANF_TO_KSTRTO,CONSIDER_KSTRTO
user_ignore+=,NAKED_SSCANF,STRCPY,STRLCPY,NEW_TYPEDEFS,AVOID_EXTERNS,VOLATILE
user_ignore+=,ENOSYS,CAMELCASE,QUOTED_WHITESPACE_BEFORE_NEWLINE
user_ignore+=,EMBEDDED_FUNCTION_NAME,BIT_MACRO
user_ignore+=,PREFER_DEFINED_ATTRIBUTE_MACRO,ARRAY_SIZE
user_ignore+=,MACRO_ARG_REUSE

kernel_files() {
	git ls-files -- 'include/*.h' 'ring/*.[ch]' 'usbback/*.[ch]' 'usbfront/*.[ch]'
}

user_files() {
	git ls-files -- 'tools/*.[ch]' 'tests/*.[ch]'
}

scripts() {
	local file line

	git ls-files | while read -r file; do
		[[ -f $file ]] || continue
		case $file in
		*.sh) echo "$file" ;;
		*.*)  ;;
		*)
			read -r line <"$file" || true
			[[ $line == '#!/bin/bash' || $line == '#!/bin/sh' ]] && echo "$file"
			;;
		esac
	done
	echo .ci/run
}

pythons() {
	git ls-files -- '*.py' tests/run
}

# checkpatch doesn't know our sparse address space and takes the star of a
# pointer into it for a product; and a header for other systems has no BIT().
known_errors() {
	local line file number

	while IFS= read -r line; do
		IFS=: read -r file number _ <<<"$line"
		case $line in
		*:SPACING:*"'*' (ctx:"*)
			sed -n "${number}p" "$file" | grep -qE '__usbif \*+' && continue
			;;
		*:CAMELCASE:*)
			# The fields of USB's own descriptors.
			[[ $line =~ \<(b|bm|bcd|i|id|w)[A-Z][A-Za-z]*\> ]] && continue
			;;
		*:LINE_SPACING:*"blank line after declarations")
			sed -n "${number}p" "$file" | grep -qE '__usbif \*' && continue
			;;
		*/trace.h:*:PARENTHESIS_ALIGNMENT:* | */trace.h:*:OPEN_ENDED_LINE:* | \
			*/trace.h:*:SPACING:*"'/' (ctx:"*)
			# Trace events are laid out as everywhere in the kernel.
			continue
			;;
		include/usbif*.h:*:BIT_MACRO:* | include/compat.h:*:LINUX_VERSION_CODE:* | \
			include/compat.h:*:CONSTANT_COMPARISON:*)
			continue
			;;
		esac
		echo "$line"
	done
}

checkpatch() {
	local ignore=$1
	shift

	[[ $# -gt 0 ]] || return 0
	perl "$source/scripts/checkpatch.pl" --no-tree --strict --quiet --terse \
		--show-types --no-summary --ignore "$ignore" -f "$@" | known_errors
	rm -f .checkpatch-camelcase.*
}

# Only what is said of our files: the kernel's headers have findings of their own.
sparse_run() {
	local out rc

	out=$(tests/lib/kernels.py rebuild "$1" C=2 CHECK=sparse \
		CF=-D__CHECK_ENDIAN__ 2>&1)
	rc=$?
	grep -vE '^/|^\./|^In file included|^make' <<<"$out" | grep -v '^$'
	return "$rc"
}

versions() {
	git grep -nE 'LINUX_VERSION_CODE|KERNEL_VERSION *\(' -- \
		'*.[ch]' ':!include/compat.h'
	return 0
}

long_files() {
	local file lines

	git ls-files -- '*.c' '*.h' '*.py' '*.sh' tests/run | while read -r file; do
		[[ -f $file ]] || continue
		lines=$(wc -l <"$file")
		[[ $lines -le 800 ]] || echo "$file has $lines lines"
	done
}

licences() {
	local file

	git ls-files -- '*.c' '*.h' '*.py' '*.sh' '*Makefile' Kbuild tests/run |
		while read -r file; do
			[[ -f $file ]] || continue
			head -3 "$file" | grep -q 'SPDX-License-Identifier' ||
				echo "$file has no licence line"
		done
}

compiles() {
	local file

	pythons | while read -r file; do
		/usr/bin/python3 - "$file" <<-'PY' || echo "$file"
			import sys
			name = sys.argv[1]
			compile(open(name, encoding="utf-8").read(), name, "exec")
		PY
	done
}

sanitized() {
	[[ -e tests/unit/Makefile ]] || {
		echo "tests/unit/Makefile is missing"
		return 1
	}
	make -s -C tests/unit sanitize
}

manual() {
	groff -man -Tutf8 -ww Documentation/usbctl.8 >/dev/null
}

source=$(tests/lib/kernels.py source) || {
	echo "Bail out! checkpatch could not be fetched"
	exit 1
}

mapfile -t files < <(kernel_files)
tap_quiet "checkpatch, kernel code" checkpatch "$kernel_ignore" "${files[@]}"
mapfile -t files < <(user_files)
tap_quiet "checkpatch, programs" checkpatch "$user_ignore" "${files[@]}"
mapfile -t files < <(scripts | sort -u)
# SC2317: functions that are called by tap_quiet are not unreachable.
tap_quiet "shellcheck" shellcheck -x -e SC2317 "${files[@]}"
tap_quiet "python" compiles
tap_quiet "versions only in compat.h" versions
tap_quiet "no file over 800 lines" long_files
tap_quiet "licence lines" licences
tap_quiet "manual page" manual
for series in 6.1 6.12; do
	tap_quiet "W=1 and sparse for $series" sparse_run $series
done
tap_quiet "ring with sanitizers" sanitized
tap_end
