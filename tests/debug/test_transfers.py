#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What moves data, on the debug kernel.

Not the camera: vhci_hcd, behind which it is, uses URBs of uvcvideo after they were
freed, as KASAN sees.
"""

import again

again.main({
    "loopback/test_loop.py":
        ": (modules|storage|back_under_load)",
    "loopback/test_testusb.py": "",
    "loopback/test_libusb.py": "",
    "loopback/test_usbfs.py": "",
    "loopback/test_streams.py": "",
    "loopback/test_iso.py": "",
    "loopback/test_speeds.py": "",
    "loopback/test_classes.py": "",
    "loopback/test_sound.py": "",
    "loopback/test_alternates.py": "",
})
