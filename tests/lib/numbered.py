# SPDX-License-Identifier: GPL-2.0
"""The numbered cases of Documentation/reliability.rst.

    cases = titles()                    # {17: "completions that are ...", ...}

A peer that runs cases by number lists those that it has: numbers(program).
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from cache import TREE

DOCUMENT = TREE / "Documentation" / "reliability.rst"


def titles() -> dict[int, str]:
    """What the peer does in each case, by number."""
    text = DOCUMENT.read_text("utf-8")
    return {int(number): title for number, title
            in re.findall(r"^H(\d+): (.+)$", text, re.M)}


def numbers(program: Path) -> list[int]:
    """The cases that a peer has, in their order."""
    done = subprocess.run([program, "list"], capture_output=True, text=True,
                          check=True)
    return sorted(map(int, done.stdout.split()))
