/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_LINUX_NOSPEC_H
#define SHIM_LINUX_NOSPEC_H

#define array_index_nospec(index, size)	(index)

#endif /* SHIM_LINUX_NOSPEC_H */
