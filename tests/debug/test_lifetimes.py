#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What comes, goes, sleeps, lies and dies, on the debug kernel."""

import again

again.main({
    "loopback/test_attach.py": "usbback removed in use",
    "loopback/test_rules.py": "",
    "loopback/test_power.py": "",
    "loopback/test_sleep.py": "",
    "loopback/test_front.py": "",
    "loopback/test_peer_backend.py": "",
    "loopback/test_peer_iso.py": "",
    "loopback/test_peer_asleep.py": "",
    "loopback/test_channels.py": "",
    "loopback/test_ivshmem.py": "",
})
