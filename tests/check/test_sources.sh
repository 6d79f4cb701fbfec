#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# "make check" as one of the tests.

exec "$(dirname "$0")/../check.sh"
