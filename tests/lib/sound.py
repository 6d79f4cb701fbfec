# SPDX-License-Identifier: GPL-2.0
"""Sound for the tests: noise, and whether it was heard sample for sample."""

from __future__ import annotations

import random

from vm import VM

# On a slow machine too there is sound every now and then: ALSA gives up (EIO) when
# no period has passed for as long as the buffer is, by default half a second. So
# let that be long, and a period short.
PATIENT = "-B 2600000 -F 50000"


def noise(seed: str, octets: int) -> bytes:
    """Samples that are like no others."""
    return random.Random(seed).randbytes(octets)


def card(vm: VM, below: str, kind: str = "p") -> str:
    """Number of the sound card whose path has that in it, once it is there.

    kind: p, it has to play; c, it has to record.
    """
    return vm.wait_for(
        f"cd /sys/devices && find . -path '*{below}*' -name 'pcmC*{kind}' | "
        "sed -n 's/.*pcmC\\([0-9]*\\)D.*/\\1/p' | grep .", 20).out.strip()


def difference(heard: bytes, sound: bytes) -> str:
    """How that which was heard differs from the sound, nothing if it doesn't."""
    if sound in heard:
        return ""
    start = heard.find(sound[:64])
    same = 0 if start < 0 else next(
        (i for i, (a, b) in enumerate(zip(heard[start:], sound)) if a != b),
        len(heard) - start)
    again = heard.find(sound[same:same + 64])
    return (f"heard {len(heard)} octets, the sound's first at {start}, "
            f"{same} of {len(sound)} are right, the next ones at {again}, not "
            f"{start + same}, where there is {heard[start + same:][:16].hex()}")
