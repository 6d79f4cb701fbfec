# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Completion of usbctl: commands, options, bus IDs, guests.

_usbctl_busids() {
	local path name

	for path in /sys/bus/usb/devices/*-*; do
		name=${path##*/}
		[[ $name == *:* || $name == '*-*' ]] || echo "$name"
	done
}

_usbctl_vms() {
	local path

	for path in /run/usbif/*.json; do
		path=${path##*/}
		[[ $path == '*.json' ]] || echo "${path%.json}"
	done
}

_usbctl_options() {
	case $1 in
	serve)
		echo --socket --size --backend-socket --user --group --hugepages \
			--foreground --stop
		;;
	qemu-args | libvirt-xml) echo --backend ;;
	list) echo --json ;;
	attach) echo --force --persist ;;
	detach | move) echo --persist ;;
	status) echo --json --rules ;;
	loop) echo --size --hugepages ;;
	esac
	echo --help --version
}

_usbctl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} words=

	if ((COMP_CWORD == 1)); then
		words='serve drop qemu-args libvirt-xml list attach detach move
			status name limit restore loop help'
	elif [[ $before == --socket || $before == --backend-socket ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	elif [[ $before == --user ]]; then
		mapfile -t COMPREPLY < <(compgen -u -- "$word")
		return
	elif [[ $before == --group ]]; then
		mapfile -t COMPREPLY < <(compgen -g -- "$word")
		return
	elif [[ $before == --size ]]; then
		words='1M 16M 64M 256M 1G'
	elif [[ $word == -* ]]; then
		words=$(_usbctl_options "$command")
	else
		case $command:$COMP_CWORD in
		attach:2 | detach:2 | move:2) words=$(_usbctl_busids) ;;
		attach:3 | move:3 | serve:2 | drop:2 | status:2 | qemu-args:2 | \
			libvirt-xml:2 | name:3)
			words=$(_usbctl_vms)
			;;
		name:2) words=$(cd /sys/bus/pci/devices 2>/dev/null && echo *) ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _usbctl usbctl
