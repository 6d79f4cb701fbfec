/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests as usbfront has them (request.c, complete.c, xfer.c, and the end of a session in
 * session.c): each URB is given back exactly once, no id and no block is used again before
 * the backend has let go of it, and nobody waits for ever. The backend is
 *
 *	(no switch)	honest, but as slow as it likes, and may restart
 *	LATE		honest, but completions of the session before are still in the ring
 *	LYING		anything: it completes any id at any time, twice, with any session
 *			number, breaks the rings, restarts, says that it has let go of
 *			everything, or says nothing any more
 *
 * Covered: transfers of one request and of two, data that is copied without the lock before
 * the submission and behind the completion, requests that are submitted once more, URBs that
 * are unlinked at any moment but the last one, whose driver waits (with LYING it unlinks that
 * as well), cancels, their time-out, requests that are lost and come back late or never, a
 * device that is unplugged at any moment, sessions that are broken, dropped and begun again.
 *
 * Left out: order within an endpoint, holds and operations of usbfront's own, the shares of
 * ports, packets, URBs that wait until usbcore has seen their device go, doorbells and memory
 * (ring.pml, session.pml), the handshake itself (handshake.pml: here the backend says that a
 * session begins), more than one port.
 *
 * What the code does against it is left out with
 *
 *	NO_QUARANTINE		blocks of a lost request are free when its URB is given back
 *	NO_LOST_ID		its id is
 *	NO_SPENT		an id is free though its cancel is live
 *	NO_LIVE_CHECK		completions of requests that are not live are taken
 *	NO_CANCEL_CHECK		completions of cancels that are not live are taken
 *	NO_SESSION_CHECK	completions of other sessions are taken
 *	NO_REPEAT_CHECK		a request that was cancelled is submitted once more
 *	DOUBLE_CANCEL		what ends twice is cancelled twice
 *	NO_FILL_CHECK		what has ended while it was filled is submitted
 *	NO_FILL_WAIT		a session begins while something is being filled
 *	NO_TIMEOUT		cancels may take for ever
 *	EARLY_SESSION		the backend begins a session while its host controller has requests
 */
#define N		2	/* ids; N + id is the cancel's */
#define BLOCKS		2
#define URBS		3
#ifndef SESSIONS
#define SESSIONS	2
#endif
#define NO		7

/* Requests */
#define FREE		0
#define FILLING		1
#define LIVE		2
#define TAKING		3
#define LOST		4
#define SPENT		5	/* but for its cancel */

/* URBs */
#define NEW		0
#define QUEUED		1
#define BEGUN		2
#define DONE		3
#define GIVEN		4

#ifdef REACH
#define END		assert(false)
#else
#define END		skip
#endif

typedef request_record {
	byte state;
	bool cancelling;
	byte urb;		/* NO: nobody waits for it */
	byte block
};

typedef urb_record {
	byte state;
	bool ended;
	bool cancelled;		/* there is a deadline */
	bool unlinked;
	byte left		/* requests that are to be submitted */
};

request_record req[N];
urb_record urb[URBS];
bool used[BLOCKS];		/* pool->map */
byte submitted;			/* URBs are, one after the other */
byte nr_lost;
bool running;
bool error;
bool up;			/* the device is there */
bool unplugged;			/* it was once */
byte session;

/* What is true, whatever usbfront believes: not answered, and not let go of, yet. */
bool live[2 * N];
bool out[BLOCKS];

/* The backend */
bool asked;			/* for a session */
bool granted;
bool gone;			/* it has restarted */
#ifdef LYING
bool silent;			/* from here on */
#else
chan sq = [2 * N] of { byte, byte };	/* id, block */
chan cq = [2 * N] of { byte, byte };	/* id, session */
bool serving;
byte its_session;
byte hc[N];			/* block that the host controller has */
bool held[BLOCKS];
#endif

hidden byte h_id, h_block, h_session, h_urb;

/* ---- requests ---- */

#define HAS_REQS(u)	(req[0].urb == (u) || req[1].urb == (u))
#define IS_FILLING(u)	((req[0].urb == (u) && req[0].state == FILLING) || \
			 (req[1].urb == (u) && req[1].state == FILLING))

inline violation()
{
	error = true;
	running = false
}

inline push(id, its_block)
{
	assert(!live[id]);
	live[id] = true;
#ifndef LYING
	assert(nfull(sq));
	sq!id,its_block
#endif
}

inline submit(i)
{
	assert(!live[N + i]);
	req[i].state = LIVE;
	out[req[i].block] = true;
	push(i, req[i].block)
}

inline req_free(i)
{
	assert(req[i].state != FREE);
	if
	:: req[i].state != SPENT ->
		used[req[i].block] = false;
		req[i].block = NO;
		req[i].urb = NO
	:: else
	fi;
	if
#ifndef NO_SPENT
	:: req[i].cancelling -> req[i].state = SPENT
	:: else -> req[i].state = FREE
#else
	:: req[i].state = FREE
#endif
	fi
}

inline finish(u)
{
	assert(urb[u].state == QUEUED || urb[u].state == BEGUN);
	urb[u].state = DONE;
	urb[u].ended = false;
	urb[u].cancelled = false;
	urb[u].left = 0
}

inline cancel_one(i, u)
{
	if
	:: req[i].urb == u && req[i].state == LIVE && running ->
		req[i].cancelling = true;
		push(N + i, NO)
	:: else
	fi
}

/* usbfront_xfer_cancel() */
inline cancel(u)
{
	urb[u].ended = true;
	if
	:: !HAS_REQS(u) -> finish(u)
	:: else ->
		if
#ifndef DOUBLE_CANCEL
		:: urb[u].cancelled
		:: else ->
#else
		:: true ->
#endif
			cancel_one(0, u);
			cancel_one(1, u);
			urb[u].cancelled = true
		fi
	fi
}

inline lose(i, u)
{
	if
	:: req[i].urb == u && req[i].state == LIVE ->
		req[i].state = LOST;
		req[i].urb = NO;
		nr_lost++;
#ifdef NO_QUARANTINE
		used[req[i].block] = false;
#endif
#ifdef NO_LOST_ID
		req[i].state = FREE;
#endif
	:: else
	fi
}

/* usbfront_xfer_abandon() */
inline abandon(u)
{
	urb[u].ended = true;
	lose(0, u);
	lose(1, u);
	if
	:: !HAS_REQS(u) -> finish(u)
	:: else -> urb[u].cancelled = false
	fi
}

inline flush_one(u)
{
	if
	:: urb[u].state == QUEUED -> finish(u)
	:: urb[u].state == BEGUN -> abandon(u)
	:: else
	fi
}

inline flush()
{
	flush_one(0);
	flush_one(1);
	flush_one(2)
}

/* ---- drivers, usbcore, and whoever feeds an endpoint ---- */

#define IS_OURS(u)	(urb[u].state == QUEUED || urb[u].state == BEGUN)
#define FREE_ID		(req[0].state == FREE || req[1].state == FREE)
#define FREE_BLOCK	(!used[0] || !used[1])

#ifdef LYING
#define MAY_UNLINK(u)	(IS_OURS(u) && !urb[u].unlinked)
#else
#define MAY_UNLINK(u)	(IS_OURS(u) && !urb[u].unlinked && (u) != URBS - 1)
#endif

/* usbfront_urb_dequeue() */
inline unlink(u)
{
	urb[u].unlinked = true;
	if
	:: urb[u].state == BEGUN -> cancel(u)
	:: else -> finish(u)
	fi
}

#define MAY_FEED(u)	(running && (urb[u].state == QUEUED || \
			 (urb[u].state == BEGUN && urb[u].left && \
			  !urb[u].ended && !IS_FILLING(u))) && FREE_ID && FREE_BLOCK)

inline feed(u)
{
	if
	:: req[0].state == FREE -> h_id = 0
	:: else -> h_id = 1
	fi;
	if
	:: !used[0] -> h_block = 0	/* first fit */
	:: else -> h_block = 1
	fi;
	assert(!out[h_block]);
#ifndef LYING
	assert(!held[h_block]);
#endif
	urb[u].state = BEGUN;
	used[h_block] = true;
	req[h_id].state = FILLING;
	req[h_id].cancelling = false;
	req[h_id].urb = u;
	req[h_id].block = h_block
}

/* The end of req_fill() */
inline filled(i, u)
{
	if
#ifndef NO_FILL_CHECK
	:: urb[u].ended || !running ->
#else
	:: !running ->
#endif
		req[i].urb = NO;
		req_free(i);
		if
		:: urb[u].ended && !HAS_REQS(u) -> finish(u)
		:: else
		fi
	:: else ->
		urb[u].left--;
		submit(i)
	fi
}

#define ANY_FILLING	(req[0].state == FILLING || req[1].state == FILLING)

proctype callers()
{
end:	do
	:: atomic {
		up && submitted < URBS ->
		urb[submitted].state = QUEUED;
		urb[submitted].left = (submitted == 0 -> 2 : 1);
		submitted++
	   }
	:: atomic { MAY_UNLINK(0) -> unlink(0) }
	:: atomic { MAY_UNLINK(1) -> unlink(1) }
	:: atomic { MAY_UNLINK(2) -> unlink(2) }
	:: atomic { MAY_FEED(0) -> feed(0) }
	:: atomic { MAY_FEED(1) -> feed(1) }
	:: atomic { MAY_FEED(2) -> feed(2) }
	:: atomic { req[0].state == FILLING -> h_urb = req[0].urb; filled(0, h_urb) }
	:: atomic { req[1].state == FILLING -> h_urb = req[1].urb; filled(1, h_urb) }
	:: atomic { up && !unplugged && submitted -> unplugged = true; flush() }
	od
}

/* ---- the thread ---- */

/* It is restored from an image; or the backend has ended the session. */
#ifdef LYING
#define MAY_DROP	(session < SESSIONS && !silent)
#else
#define MAY_DROP	(session < SESSIONS)
#endif

inline let_go(id)
{
	assert(live[id]);
	live[id] = false
}

/* Up to where the data is copied; what is TAKING afterwards ends with piece_done(). */
inline request_done(i)
{
	let_go(i);
	out[req[i].block] = false;
	if
	:: req[i].state == LOST ->
		nr_lost--;
		req_free(i)
	:: else ->
		if
#ifndef NO_REPEAT_CHECK
		:: !req[i].cancelling && !urb[req[i].urb].ended -> submit(i)
#else
		:: submit(i)
#endif
		:: req[i].state = TAKING
		fi
	fi
}

inline take_cancel(i)
{
	if
#ifndef NO_CANCEL_CHECK
	:: !req[i].cancelling -> violation()
	:: else ->
#else
	:: true ->
#endif
		let_go(N + i);
		req[i].cancelling = false;
		if
		:: req[i].state == SPENT -> req_free(i)
		:: else
		fi
	fi
}

inline take_request(i)
{
	if
#ifndef NO_LIVE_CHECK
	:: req[i].state != LIVE && req[i].state != LOST -> violation()
	:: else ->
#else
	:: true ->
#endif
		request_done(i)
	fi
}

/* take(), of the completion in h_id and h_session */
inline take()
{
	if
#ifndef NO_SESSION_CHECK
	:: h_session != session -> violation()
	:: else ->
#else
	:: true ->
#endif
		if
		:: h_id == 0 -> take_request(0)
		:: h_id == 1 -> take_request(1)
		:: h_id == N -> take_cancel(0)
		:: h_id == N + 1 -> take_cancel(1)
		fi
	fi
}

/* A short one ends the transfer; so does an error. */
inline piece_done(i, u)
{
	if
	:: urb[u].ended = true
	:: true
	fi;
	req[i].urb = NO;
	req_free(i);
	if
	:: urb[u].ended -> cancel(u)
	:: else ->
		if
		:: !HAS_REQS(u) && !urb[u].left -> finish(u)
		:: else
		fi
	fi
}

inline expire(u)
{
	abandon(u);
	if
	:: running && nr_lost > N / 2 -> violation()
	:: else
	fi
}

inline give(u)
{
	assert(urb[u].state == DONE);
	urb[u].state = GIVEN;
	urb[u].unlinked = false
}

inline give_all()
{
	do
	:: urb[0].state == DONE -> give(0)
	:: urb[1].state == DONE -> give(1)
	:: urb[2].state == DONE -> give(2)
	:: else -> break
	od
}

inline reset(i)
{
	req[i].state = FREE;
	req[i].cancelling = false;
	req[i].urb = NO;
	req[i].block = NO;
	live[i] = false;
	live[N + i] = false
}

/* usbfront_tables_reset() */
inline session_begin()
{
	assert(!ANY_FILLING && !running);
	assert(urb[0].state != BEGUN && urb[1].state != BEGUN && urb[2].state != BEGUN);
	reset(0);
	reset(1);
	used[0] = false;
	used[1] = false;
	out[0] = false;
	out[1] = false;
	nr_lost = 0;
	granted = false;
	session++;
	running = true;
	up = true
}

proctype thread()
{
end:	do
	:: atomic { !session -> asked = true }; goto end_down
#ifdef LYING
	:: atomic {
		running && !silent ->
		if
		:: h_id = 0
		:: h_id = 1
		:: h_id = N
		:: h_id = N + 1
		fi;
		if
		:: h_session = session
		:: h_session = NO
		fi;
		take()
	   }
	:: atomic { running && !silent -> violation() }
#else
	:: atomic {
		running && nempty(cq) ->
		cq?h_id,h_session;
		take()
	   }
#endif
	/* The thread does nothing else while it copies. */
	:: atomic { req[0].state == TAKING -> h_urb = req[0].urb; piece_done(0, h_urb) }
	:: atomic { req[1].state == TAKING -> h_urb = req[1].urb; piece_done(1, h_urb) }
#ifndef NO_TIMEOUT
	:: atomic { urb[0].cancelled -> expire(0) }
	:: atomic { urb[1].cancelled -> expire(1) }
	:: atomic { urb[2].cancelled -> expire(2) }
#endif
	:: atomic { urb[0].state == DONE -> give(0) }
	:: atomic { urb[1].state == DONE -> give(1) }
	:: atomic { urb[2].state == DONE -> give(2) }
	:: atomic {
		session && req[0].state != TAKING && req[1].state != TAKING &&
		(error || gone || MAY_DROP) ->
		running = false
	   };
	   /* session_end() */
	   atomic { up = false; flush() };
#ifndef NO_FILL_WAIT
	   !ANY_FILLING;
#endif
	   atomic {
		give_all();
		if
		:: session == SESSIONS -> break
		:: else
		fi;
		gone = false;
		error = false;
		asked = true
	   };
end_down:  atomic { granted -> asked = false; session_begin() }
	od;
end_over:
	false
}

/* ---- the backend ---- */

#ifdef LYING

proctype backend()
{
end:	do
	:: atomic { asked && !granted && !silent -> granted = true }
	:: atomic { !silent -> silent = true }
	od
}

#else

#ifdef EARLY_SESSION
#define HAS_LET_GO	true
#else
#define HAS_LET_GO	(hc[0] == NO && hc[1] == NO)
#endif

/* An honest one finds it without looking: see "Rings" in protocol.rst. */
#ifdef LATE
#define HAS_ROOM	(!serving || nfull(cq))
#else
#define HAS_ROOM	true
#endif

inline begin_hc(i)
{
	assert(hc[i] == NO && !held[h_block]);
	hc[i] = h_block;
	held[h_block] = true
}

inline end_hc(i)
{
	held[hc[i]] = false;
	hc[i] = NO;
	if
	:: serving ->
		assert(nfull(cq));
		cq!i,its_session
	:: else
	fi
}

inline empty_ring(ring)
{
	do
	:: nempty(ring) -> ring?h_id,h_block
	:: empty(ring) -> break
	od
}

proctype backend()
{
end:	do
	:: atomic {
		serving && nempty(sq) && HAS_ROOM ->
		sq?h_id,h_block;
		if
		:: h_id == 0 -> begin_hc(0)
		:: h_id == 1 -> begin_hc(1)
		:: else ->
			/* Of the target there is, or will be, a completion anyway. */
			assert(nfull(cq));
			cq!h_id,its_session
		fi
	   }
	:: atomic { hc[0] != NO && HAS_ROOM -> end_hc(0) }
	:: atomic { hc[1] != NO && HAS_ROOM -> end_hc(1) }
	:: atomic { asked && !granted && serving -> serving = false }
	:: atomic {
		asked && !serving && !granted && HAS_LET_GO ->
		empty_ring(sq);
#ifndef LATE
		empty_ring(cq);
#endif
		its_session++;
		serving = true;
		granted = true
	   }
	/* It restarts, and no host controller goes on without it. */
	:: atomic {
		serving && running && its_session < SESSIONS ->
		serving = false;
		gone = true;
		if
		:: hc[0] != NO -> end_hc(0)
		:: else
		fi;
		if
		:: hc[1] != NO -> end_hc(1)
		:: else
		fi
	   }
	od
}

#endif

/* ---- when nothing can happen any more ---- */

#define IS_OVER(u)	(urb[u].state == NEW || urb[u].state == GIVEN)
#define HAS_LOST(b)	((req[0].state == LOST && req[0].block == (b)) || \
			 (req[1].state == LOST && req[1].block == (b)))

proctype watch()
{
	timeout ->
	assert(IS_OVER(0) && IS_OVER(1) && IS_OVER(2));
	if
	:: running ->
#ifdef LYING
		assert(used[0] == HAS_LOST(0) && used[1] == HAS_LOST(1));
#else
		assert(req[0].state == FREE && req[1].state == FREE);
		assert(!used[0] && !used[1]);
#endif
	:: else
	fi;
	END
}

init {
	atomic {
		reset(0);
		reset(1);
#ifndef LYING
		hc[0] = NO;
		hc[1] = NO;
#endif
		run watch();
		run backend();
		run thread();
		run callers()
	}
}
