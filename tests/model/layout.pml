/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The static part of the backend's page that is read while it is written anew, as
 * ring/layout.c has it: what is taken is of one writing. A barrier is left out with
 *
 *	NO_ENCODE_WMB, NO_ENCODE_RELEASE	usbif_layout_encode()
 *	NO_NONCE_ACQUIRE, NO_MAGIC_ACQUIRE	static_part_copy(), before the copy
 *	NO_COPY_RMB, NO_MAGIC2_ACQUIRE		static_part_copy(), after it
 *
 * FIELD stands for all that is copied. MAGIC_FIRST looks at the magic before the nonce:
 * a nonce that came before its fields would then be taken with the old ones.
 */
#define MAGIC		0
#define NONCE		1
#define FIELD		2
#define WORDS		3
#include "memory.pml"

#define WRITINGS	3
#define STORED		(THERE(MAGIC) && THERE(NONCE) && THERE(FIELD))
#define LOOK_AGAIN	LOOK(MAGIC); LOOK(NONCE); LOOK(FIELD)

proctype writer()
{
	byte n;

	for (n : 1 .. WRITINGS) {
		STORE(MAGIC, 0);
#ifndef NO_ENCODE_WMB
		STORED;
#endif
		STORE(FIELD, n);
		STORE(NONCE, n);
#ifndef NO_ENCODE_RELEASE
		STORED;
#endif
		STORE(MAGIC, 1)
	}
}

inline look_at_nonce()
{
	d_step {
		nonce = LOAD(NONCE);
		LOOK(NONCE);
#ifndef NO_NONCE_ACQUIRE
		LOOK_AGAIN
#endif
	}
}

inline look_at_magic()
{
	d_step {
		magic = LOAD(MAGIC);
		LOOK(MAGIC);
#ifndef NO_MAGIC_ACQUIRE
		LOOK_AGAIN
#endif
	}
}

proctype reader()
{
	byte nonce, magic, field;

	do
	:: true ->
#ifdef MAGIC_FIRST
		look_at_magic();
		look_at_nonce();
#else
		look_at_nonce();
		look_at_magic();
#endif
		if
		:: !magic -> goto again
		:: else
		fi;
		field = LOAD(FIELD);
#ifndef NO_COPY_RMB
		d_step { LOOK_AGAIN };
#endif
		d_step {
			magic = LOAD(MAGIC);
			LOOK(MAGIC);
#ifndef NO_MAGIC2_ACQUIRE
			LOOK_AGAIN
#endif
		}
		if
		:: !magic -> goto again
		:: else
		fi;
		if
		:: LOAD(NONCE) != nonce -> goto again
		:: else
		fi;
		assert(field == nonce);
		if
		:: nonce == WRITINGS -> break
		:: else
		fi;
again:		skip
	od;
	END
}

init {
	atomic {
		run hardware(MAGIC);
		run hardware(NONCE);
		run hardware(FIELD);
		run writer();
		run reader()
	}
}
