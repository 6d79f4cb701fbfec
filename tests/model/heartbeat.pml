/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A frontend writes its state while the backend sleeps, or is just about to, and doorbells
 * get lost: usbfront rings until the heartbeat has moved (write_state() and insist() in
 * usbfront/session.c), and then usbback has seen the state (thread_main() in
 * usbback/backend.c). In a session usbback has no timer that would look instead. What this
 * rests on is left out with
 *
 *	SEEN_BEFORE		usbfront reads the heartbeat after its state
 *	NO_STATE_MB		barrier between the two
 *	NO_HEARTBEAT_MB		barrier between usbback's heartbeat and its look
 *
 * Left out: a backend that moves its heartbeat without looking, which hurts nobody else.
 */
#define STATE		0	/* frontend's */
#define HEARTBEAT	1	/* backend's */
#define WORDS		2
#include "memory.pml"

#define LOSSES		2	/* of doorbells */

bool bell = true;		/* for something else */
bool seen;			/* the state */
byte losses;

inline ring()
{
	if
	:: bell = true
	:: atomic { losses < LOSSES -> losses++ }
	fi
}

proctype frontend()
{
	byte before;

#ifdef SEEN_BEFORE
	before = LOAD(HEARTBEAT);
#endif
	STORE(STATE, 1);
#ifndef SEEN_BEFORE
#ifndef NO_STATE_MB
	d_step { THERE(STATE) -> LOOK(HEARTBEAT) };
#endif
	before = LOAD(HEARTBEAT);
#endif
	ring();
	do
	:: LOAD(HEARTBEAT) != before -> break
	:: LOAD(HEARTBEAT) == before -> ring()
	od
}

proctype backend()
{
	byte heartbeat;

end:	do
	:: bell ->
		bell = false;
		heartbeat = (heartbeat + 1) & 3;
		STORE(HEARTBEAT, heartbeat);
#ifndef NO_HEARTBEAT_MB
		d_step { THERE(HEARTBEAT) -> LOOK(STATE) };
#endif
		seen = seen || LOAD(STATE)
	od
}

proctype watch()
{
	timeout -> assert(seen);
	END
}

init {
	atomic {
		run hardware(STATE);
		run hardware(HEARTBEAT);
		run frontend();
		run backend();
		run watch()
	}
}
