#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Peers that attack, on the debug kernel."""

import again

again.main({
    "loopback/test_hostile_front.py": "H(8|18|27|39|59|63) |neighbour",
    "loopback/test_hostile_back.py": "",
    "driver-vm/test_hostile.py": "",
    "driver-vm/test_hostile_back.py": "",
})
