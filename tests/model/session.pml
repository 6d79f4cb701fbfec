/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A frontend that has restarted takes over a session, as usbback/session.c and
 * usbfront/session.c have it: it takes the session that was made for its nonce, not the
 * one before, whose state word may still be what it sees. A barrier is left out with
 *
 *	NO_NONCE_RELEASE	backend's session_nonce
 *	NO_NONCE_ACQUIRE	the frontend's look at it
 *	NO_ASK_RELEASE		frontend's nonce
 *	NO_ASKED_ACQUIRE	the backend's look at it
 *
 * The states of both sides say so all the time: they are what is left of the session
 * before. Whatever is seen of them is not what orders the rest.
 */
#define FEATURES	0	/* frontend's */
#define NONCE		1
#define SESSION		2	/* backend's, with ring_start */
#define SESSION_NONCE	3
#define WORDS		4
#include "memory.pml"

#define OLD		1
#define NEW		2

proctype frontend()
{
	STORE(FEATURES, NEW);
#ifndef NO_ASK_RELEASE
	THERE(FEATURES);
#endif
	STORE(NONCE, NEW);
	d_step {
		LOAD(SESSION_NONCE) == NEW ->
		LOOK(SESSION_NONCE);
#ifndef NO_NONCE_ACQUIRE
		LOOK(SESSION)
#endif
	}
	assert(LOAD(SESSION) == NEW);
	END
}

proctype backend()
{
	d_step {
		LOAD(NONCE) == NEW ->
		LOOK(NONCE);
#ifndef NO_ASKED_ACQUIRE
		LOOK(FEATURES)
#endif
	}
	assert(LOAD(FEATURES) == NEW);
	STORE(SESSION, NEW);
#ifndef NO_NONCE_RELEASE
	THERE(SESSION);
#endif
	STORE(SESSION_NONCE, NEW)
}

init {
	atomic {
		KNOWN(FEATURES, OLD);
		KNOWN(NONCE, OLD);
		KNOWN(SESSION, OLD);
		KNOWN(SESSION_NONCE, OLD);
		run hardware(FEATURES);
		run hardware(NONCE);
		run hardware(SESSION);
		run hardware(SESSION_NONCE);
		run frontend();
		run backend()
	}
}
