#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Peers that attack, on the debug kernel."""

import again

again.main({
    "loopback/test_hostile_front.py": "H(1|8|16|18|27|36|39|59|63|67|69) |neighbour",
    "loopback/test_hostile_back.py": "H(85|87|92) |hardware",
    "driver-vm/test_hostile.py": "",
})
