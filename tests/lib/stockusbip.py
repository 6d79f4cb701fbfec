# SPDX-License-Identifier: GPL-2.0
"""The stock USB/IP tools and drivers, between machines that share a network.

    from stockusbip import attach, detach, export, imported, serve

    serve(desk); export(desk, "1-1")        # usbipd, usbip bind
    attach(vm, "10.9.1.1", "1-1")           # usbip attach
    busid = imported(vm, "stick")           # bus ID on vhci_hcd
    detach(vm, "stick")                     # usbip detach
"""

from __future__ import annotations

import re

from vm import VM

VHCI = "/sys/devices/platform/vhci_hcd.0"


def imported(vm: VM, serial: str, timeout: float = 10) -> str:
    """Bus ID, on vhci_hcd, of the device with that serial number."""
    out = vm.wait_for(
        f"cd {VHCI} && for s in $(find . -name serial); do "
        f"[ \"$(cat $s 2>/dev/null)\" = {serial} ] && d=${{s%/serial}} "
        "&& echo ${d##*/} && exit 0; done; exit 1", timeout).out
    return out.split()[0]


def serve(vm: VM) -> None:
    """Have a machine answer those who want its devices."""
    vm.run("modprobe usbip-host")
    vm.spawn("exec usbipd -4", stdin=False).wait_output("listening on")


def export(vm: VM, busid: str) -> None:
    """Let others have a device of a machine."""
    vm.run(f"usbip bind -b {busid}", 60)


def attach(vm: VM, address: str, busid: str) -> None:
    """Import a device that another machine exports."""
    vm.run(f"modprobe vhci-hcd && usbip attach -r {address} -b {busid}", 60)


def detach(vm: VM, serial: str) -> None:
    """Let go of an imported device."""
    busid = imported(vm, serial)
    # "hs  0001 006 003 00010002 000003 1-2": port, state, bus ID here
    out = vm.run(f"cat {VHCI}/status*").out
    found = re.search(rf"^\S+\s+(\d+)\s.*\s{busid}$", out, re.M)
    assert found, out
    vm.run(f"usbip detach -p {int(found[1])}", 60)
