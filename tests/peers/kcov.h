/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coverage of what a module does for a channel (CONFIG_KCOV, see dev-tools/kcov.rst of
 * the kernel). The thread that calls cover_open() has to make the channel.
 */
#ifndef TESTS_PEERS_KCOV_H
#define TESTS_PEERS_KCOV_H

/* Ends the program if the kernel has none. */
void cover_open(void);
/* Forgets what has been run so far. */
void cover_begin(void);
/* How many blocks, and pairs of them, have run since then that never did before. */
unsigned int cover_news(void);
/* Blocks that have run at all. */
unsigned int cover_blocks(void);

#endif /* TESTS_PEERS_KCOV_H */
