#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# setup.sh - the Debian packages that building and testing need
#
# Installs what is missing when it runs as root, otherwise says what to type.
# Silent and quick when nothing is missing.

set -eu

# Building: modules for the cached kernels, the tools, the guest programs.
build="gcc gcc-12 make libc6-dev bc bison flex libelf-dev libssl-dev
	linux-libc-dev pkg-config xz-utils zstd kmod libusb-1.0-0-dev
	patch libudev-dev libjson-c-dev libseccomp-dev libusbredirparser-dev git pahole"

# Checking: checkpatch is fetched with the kernel's source.
check="sparse shellcheck clang libclang-rt-14-dev llvm groff-base perl
	spin"

# Running: guests, and what is called in them.
run="qemu-system-x86 qemu-utils busybox-static cpio python3 iproute2 usbutils
	fio dosfstools e2fsprogs mtools cryptsetup-bin dmsetup
	debian-archive-keyring util-linux alsa-utils usbip udev systemd"

# Guests of another architecture, which a device tree describes.
arm="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm
	device-tree-compiler dt-schema"

# Processors with 32 bits, or with the big end first; one that runs our programs.
foreign="gcc-arm-linux-gnueabihf libc6-dev-armhf-cross gcc-s390x-linux-gnu
	libc6-dev-s390x-cross qemu-user"

is_there() {
	local status

	status=$(dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null) || return 1
	[[ $status == *installed* && $status != *not-installed* ]]
}

missing() {
	local package known

	# One question for all; only what it does not know is looked at again.
	# shellcheck disable=SC2086,SC2016
	known=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' \
		$build $check $run $arm $foreign 2>/dev/null || true)
	for package in $build $check $run $arm $foreign; do
		[[ $'\n'$known$'\n' == *$'\n'"installed $package"$'\n'* ]] ||
			is_there "$package" || echo "$package"
	done
}

main() {
	local packages

	mapfile -t packages < <(missing)
	[[ ${#packages[@]} -gt 0 ]] || return 0

	if [[ $(id -u) -ne 0 ]]; then
		echo "setup.sh: packages are missing; install them and try again:" >&2
		echo "sudo apt-get install --no-install-recommends ${packages[*]}" >&2
		return 1
	fi
	echo "setup.sh: installing ${packages[*]}" >&2
	export DEBIAN_FRONTEND=noninteractive
	if ! apt-get -qq install -y --no-install-recommends --dry-run \
		"${packages[@]}" >/dev/null 2>&1; then
		apt-get -q update >&2
	fi
	if ! apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${packages[@]}" >&2; then
		# The lists may be older than what the mirror has.
		apt-get -q update >&2
		apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${packages[@]}" >&2
	fi
}

main
