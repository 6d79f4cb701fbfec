/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An entry of the port table that is read while it is changed, as ring/status.c has it:
 * what is taken is of one writing. A barrier is left out with
 *
 *	NO_WRITE_WMB, NO_WRITE_RELEASE		usbif_port_write()
 *	NO_READ_ACQUIRE, NO_READ_RMB		usbif_port_read()
 *
 * State words are 2 * n - 1 while change n is being written, then 2 * n.
 */
#define STATE		0
#define EPOCH		1
#define WAKEUP		2
#define WORDS		3
#include "memory.pml"

#define CHANGES		3
#define STORED		(THERE(STATE) && THERE(EPOCH) && THERE(WAKEUP))
#define LOOK_AGAIN	LOOK(STATE); LOOK(EPOCH); LOOK(WAKEUP)

proctype writer()
{
	byte n;

	for (n : 1 .. CHANGES) {
		STORE(STATE, 2 * n - 1);
#ifndef NO_WRITE_WMB
		STORED;
#endif
		STORE(EPOCH, n);
		STORE(WAKEUP, n);
#ifndef NO_WRITE_RELEASE
		STORED;
#endif
		STORE(STATE, 2 * n)
	}
}

proctype reader()
{
	byte state, epoch, wakeup;

	do
	:: d_step {
		state = LOAD(STATE);
		LOOK(STATE);
#ifndef NO_READ_ACQUIRE
		LOOK_AGAIN
#endif
	   };
	   if
	   :: state % 2 -> goto again
	   :: else
	   fi;
	   epoch = LOAD(EPOCH);
	   wakeup = LOAD(WAKEUP);
#ifndef NO_READ_RMB
	   d_step { LOOK_AGAIN };
#endif
	   if
	   :: LOAD(STATE) != state -> goto again
	   :: else
	   fi;
	   assert(epoch == state / 2 && wakeup == state / 2);
	   if
	   :: state == 2 * CHANGES -> break
	   :: else
	   fi;
again:	   skip
	od;
	END
}

init {
	atomic {
		run hardware(STATE);
		run hardware(EPOCH);
		run hardware(WAKEUP);
		run writer();
		run reader()
	}
}
