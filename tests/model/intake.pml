/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests as usbback has them (request.c, urb.c, and the end of a session in session.c),
 * before a frontend that lies: each request that is taken is completed exactly once, or
 * dropped with its session; the host controller never has one block, or one id, in two
 * requests; a completion always has room; the next session begins when nothing is in flight.
 *
 * Covered: entries with any id, any blocks, wrong ones, ids that are live, cancels of
 * anything, a frontend that takes completions when it likes, breaks the rings, ends the
 * session at any moment, with requests at the host controller, begins another one, or does
 * nothing any more: then what is live is completed all the same. Requests that are taken
 * back from the host controller and begun again, and those whose end is left to the thread.
 *
 * Left out: operations, limits, ports that come and go, tables (a request has one or two
 * blocks at once), order and holds, memory and doorbells (ring.pml), how a session begins
 * and ends (handshake.pml: here it just does).
 *
 * What the code does against it is left out with
 *
 *	NO_LIVE_CHECK	an id that is live is taken again
 *	NO_BLOCK_CHECK	and so are blocks
 *	NO_ROOM_CHECK	entries are taken without room for what is live
 *	CANCEL_FREES	a cancelled request ends though the host controller has it
 *	DROP_FREES	so does one that is live at the end of its session
 *	ANSWER_DROPPED	what is dropped with its session is completed
 *	EARLY_SESSION	the next session does not wait for the host controller
 */
#define N		2	/* ids; N + id is the cancel's */
#define SESSIONS	3

/* enum usbback_slot_state */
#define FREE		0
#define PARKED		1
#define INFLIGHT	2
#define DEFERRED	3

/* enum usbback_kill, in this order */
#define NONE		0
#define TAKEBACK	1
#define CANCEL		2
#define SESSION		3

/* enum usbback_state */
#define RUNNING		0
#define ENDING		1
#define IDLE		2

#ifdef REACH
#define END		assert(false)
#else
#define END		skip
#endif

typedef slot_record {
	byte state;
	byte kill;
	byte blocks
};

slot_record slot[N];
byte state = RUNNING;
byte sessions = 1;
byte marked;			/* blocks of live requests */
bool broken;			/* violation.claimed */
byte unread;			/* completions that the frontend has not taken */

/* What is true, whatever usbback believes. */
bool owed[2 * N];		/* a completion */
byte hc[N];			/* blocks that the host controller has */

bool silent;			/* the frontend, from here on */
hidden byte h_id, h_blocks;

#define LIVE		((slot[0].state != FREE) + (slot[1].state != FREE))
#define IN_FLIGHT(i)	(slot[i].state == INFLIGHT || slot[i].state == DEFERRED)
#define KILLS		(slot[0].kill || slot[1].kill)

#ifdef NO_ROOM_CHECK
#define HAS_ROOM	(unread < 2 * N)
#else
#define HAS_ROOM	(unread + LIVE < 2 * N)
#endif

/* ---- the end of a request ---- */

inline answer(id)
{
	assert(state == RUNNING);
	assert(owed[id]);
	owed[id] = false;
	assert(unread < 2 * N);
	unread++
}

inline slot_free(i)
{
	assert(slot[i].state != FREE);
	marked = marked & ~slot[i].blocks;
	slot[i].state = FREE;
	slot[i].kill = NONE;
	slot[i].blocks = 0
}

/* usbback_request_finish() */
inline finish(i)
{
	if
#ifndef ANSWER_DROPPED
	:: slot[i].kill == SESSION || state != RUNNING ->
		assert(state != RUNNING);
		slot_free(i);
		owed[i] = false
	:: else ->
#else
	:: true ->
#endif
		slot_free(i);
		answer(i)
	fi
}

inline kill_slot(i, how)
{
	if
	:: slot[i].kill < how -> slot[i].kill = how
	:: else
	fi
}

inline drop_one(i)
{
	if
	:: slot[i].state == PARKED || slot[i].state == DEFERRED ->
		slot_free(i);
		owed[i] = false
#ifdef DROP_FREES
	:: slot[i].state == INFLIGHT ->
		slot_free(i);
		owed[i] = false
#else
	:: slot[i].state == INFLIGHT -> kill_slot(i, SESSION)
#endif
	:: slot[i].state == FREE
	fi
}

/* ---- intake ---- */

/* slot_claim() and transfer_park() */
inline take_request(i, new_blocks)
{
	if
#ifndef NO_LIVE_CHECK
	:: slot[i].state != FREE -> broken = true
	:: else ->
#else
	:: true ->
#endif
		owed[i] = true;
		if
		/* Wrong in itself, or no such device: refused. */
		:: answer(i)
#ifndef NO_BLOCK_CHECK
		:: marked & new_blocks -> broken = true; owed[i] = false
		:: !(marked & new_blocks) ->
#else
		:: true ->
#endif
			marked = marked | new_blocks;
			slot[i].blocks = new_blocks;
			slot[i].kill = NONE;
			slot[i].state = PARKED
		fi
	fi
}

inline take_cancel(i)
{
	owed[N + i] = true;
	answer(N + i);
	if
	:: slot[i].state == PARKED -> finish(i)
#ifdef CANCEL_FREES
	:: slot[i].state == INFLIGHT -> finish(i)
#else
	:: slot[i].state == INFLIGHT -> kill_slot(i, CANCEL)
#endif
	:: slot[i].state == DEFERRED
	:: slot[i].state == FREE
	fi
}

#define IS_TAKING	(state == RUNNING && !broken && HAS_ROOM && !silent)

/* usbback_urb_run(); both are of one endpoint. */
#define MAY_BEGIN(i)	(slot[i].state == PARKED && state == RUNNING && !KILLS)

inline begin(i)
{
	assert(!hc[i]);
	assert(!(hc[1 - i] & slot[i].blocks));
	slot[i].state = INFLIGHT;
	hc[i] = slot[i].blocks
}

proctype thread()
{
end:	do
	:: atomic {
		IS_TAKING ->
		if
		:: h_blocks = 1
		:: h_blocks = 2
		:: h_blocks = 3
		fi;
		if
		:: true -> take_request(0, h_blocks)
		:: true -> take_request(1, h_blocks)
		:: take_cancel(0)
		:: take_cancel(1)
		/* A wrong cancel */
		:: owed[N] = true; answer(N)
		:: owed[N + 1] = true; answer(N + 1)
		fi
	   }
	:: atomic { MAY_BEGIN(0) -> begin(0) }
	:: atomic { MAY_BEGIN(1) -> begin(1) }
	:: atomic { slot[0].state == DEFERRED -> finish(0) }
	:: atomic { slot[1].state == DEFERRED -> finish(1) }
	/* session_end() */
	:: atomic { state == RUNNING && (broken || !silent) -> state = ENDING };
	   atomic { drop_one(0); drop_one(1) }
	/* session_ended() */
	:: atomic {
#ifdef EARLY_SESSION
		state == ENDING ->
#else
		state == ENDING && !IN_FLIGHT(0) && !IN_FLIGHT(1) ->
#endif
		drop_one(0);
		drop_one(1);
		state = IDLE
	   }
	/* session_begin() */
	:: atomic {
		state == IDLE && sessions < SESSIONS && !silent ->
		assert(slot[0].state == FREE && slot[1].state == FREE);
		assert(!hc[0] && !hc[1] && !marked);
		assert(!owed[0] && !owed[1] && !owed[N] && !owed[N + 1]);
		sessions++;
		broken = false;
		unread = 0;
		state = RUNNING
	   }
	od
}

/* ---- the host controller ---- */

/* urb_complete(): an error has what is behind it taken back. */
inline complete(i)
{
	hc[i] = 0;
	if
	:: slot[i].state == FREE		/* not if the code is as it is */
	:: slot[i].state == INFLIGHT && slot[i].kill == TAKEBACK ->
		slot[i].kill = NONE;
		slot[i].state = PARKED
	:: slot[i].state == INFLIGHT ->
		if
		:: true
		:: slot[1 - i].state == INFLIGHT -> kill_slot(1 - i, TAKEBACK)
		fi;
		if
		:: true -> finish(i)
		:: slot[i].state = DEFERRED
		fi
	:: slot[i].state == PARKED || slot[i].state == DEFERRED -> assert(false)
	fi
}

proctype controller()
{
end:	do
	:: atomic { hc[0] -> complete(0) }
	:: atomic { hc[1] -> complete(1) }
	od
}

proctype frontend()
{
end:	do
	:: atomic { unread && !silent -> unread-- }
	:: atomic { !broken && !silent && state == RUNNING -> broken = true }
	:: atomic { !silent -> silent = true }
	od
}

/* When nothing can happen any more. */
proctype watch()
{
	timeout ->
	assert(slot[0].state == FREE && slot[1].state == FREE && !marked);
	assert(!owed[0] && !owed[1] && !owed[N] && !owed[N + 1]);
	assert(state == RUNNING || state == IDLE);
	END
}

init {
	atomic {
		run thread();
		run controller();
		run frontend();
		run watch()
	}
}
