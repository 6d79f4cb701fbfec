#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The driver VM and its guests, all on the debug kernel."""

import again

again.main({
    "driver-vm/test_driver_vm.py": "",
    "driver-vm/test_asleep.py": "",
    "driver-vm/test_foreign.py": "",
    "driver-vm/test_disks.py": "",
})
