/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The identity of a region, as ring/layout.c has it: who sees the magic sees the rest. A
 * barrier is left out with
 *
 *	NO_ENCODE_RELEASE	usbif_ident_encode()
 *	NO_READ_ACQUIRE		usbif_ident_read()
 */
#define MAGIC		0
#define FIELD		1
#define WORDS		2
#include "memory.pml"

proctype writer()
{
	STORE(FIELD, 1);
#ifndef NO_ENCODE_RELEASE
	THERE(FIELD);
#endif
	STORE(MAGIC, 1)
}

proctype reader()
{
	d_step {
		LOAD(MAGIC) == 1 ->
		LOOK(MAGIC);
#ifndef NO_READ_ACQUIRE
		LOOK(FIELD)
#endif
	}
	assert(LOAD(FIELD) == 1);
	END
}

init {
	atomic {
		run hardware(MAGIC);
		run hardware(FIELD);
		run writer();
		run reader()
	}
}
