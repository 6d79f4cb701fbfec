/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The handshake as usbfront/session.c and usbback/session.c have it, with restarts: the pool
 * is the frontend's only when the host controller has let go of it, no side has two sessions
 * at once, and in the end both run the same one. The peers are
 *
 *	(no switch)	both honest, and each may restart (its kernel crashes) or end the
 *			session at any moment
 *	LYING_BACK	an honest frontend, and somebody who writes anything into the words of
 *			the backend at any moment; then an honest backend comes. The VMM may say
 *			that the first is gone, and says that the other one is there
 *	LYING_FRONT	the same the other way round: first a guest that writes anything, then
 *			an honest one
 *
 * Covered: states, nonces and session numbers of both sides, the error states and what leads
 * on from them, peers that are said to be gone, requests at the host controller from one
 * session on into the next. What is known of the liar ends with it: from then on nothing
 * goes round in circles (see test_model: "comes to rest").
 *
 * Taken for granted: a nonce that is chosen anew is none that anybody remembers; each side
 * looks again, by a doorbell or its timer (heartbeat.pml); usbback has looked once since it
 * was told that a guest is dead when the next one writes its nonce (if not, that one is
 * refused, and usbfront comes with another one in ten seconds, which is not here). Stores are seen in their
 * order (session.pml). Left out: layout, ports, rings, limits on the number of handshakes.
 *
 * What the code does against it is left out with
 *
 *	NO_NONCE_CHECK	the frontend takes a session that was made for another nonce
 *	EARLY_SESSION	the backend makes one while the host controller has requests
 *	KEEP_GONE	that a guest is gone is remembered when its session has ended, and the
 *			next one's nonce refused for it
 *	IMPATIENT	the frontend takes another nonce whenever there is no session yet, which
 *			goes round in circles
 *	NO_RETRY	a frontend whose session was broken never tries again
 */

/* enum usbif_back_state, usbif_front_state: these are in the region. */
#define NONE		0
#define READY		1
#define CONNECT		1
#define CONNECTED	2
#define RUNNING		3
#define CLOSING		4
#define CLOSED		4
#define BROKEN		5

/* enum usbfront_state, usbback_state */
#define DOWN		0
#define CONNECTING	1
#define IDLE		0
#define ENDING		4

#define RESTARTS	2	/* of each honest side */
#define NONCES		6

#ifdef REACH
#define END		assert(false)
#else
#define END		skip
#endif

/* ---- the region ---- */

byte b_state, b_nonce, b_session, b_session_nonce;
byte f_state, f_nonce, f_session;

/* ---- what each side knows ---- */

byte fs;			/* usbfront's state */
byte fs_nonce, fs_back_nonce, fs_session, fs_spurned;
bool fs_error, fs_gone, fs_waits;
bool fs_lives;			/* there is a frontend that is honest */
byte fs_restarts;

byte bs;			/* usbback's */
byte bs_nonce, bs_front_nonce, bs_refused, bs_session;
bool bs_error, bs_end_broken, bs_gone, bs_took, bs_closing;
bool bs_lives;
byte bs_restarts;

bool hc;			/* the host controller has requests */
byte hc_session;
bool told_gone, told_there;	/* usbfront, and will see */
hidden byte h;

/* Random, and none of these: the first that nobody remembers. */
#define KNOWN_F(n)	(f_nonce == (n) || fs_nonce == (n) || b_session_nonce == (n) || \
			 bs_front_nonce == (n) || bs_refused == (n))
#define KNOWN_B(n)	(b_nonce == (n) || bs_nonce == (n) || fs_back_nonce == (n) || \
			 fs_spurned == (n))

inline fresh_f()
{
	h = 1;
	do
	:: KNOWN_F(h) -> h++
	:: else -> break
	od;
	assert(h <= NONCES)
}

inline fresh_b()
{
	h = 1;
	do
	:: KNOWN_B(h) -> h++
	:: else -> break
	od;
	assert(h <= NONCES)
}

/* ---- usbfront ---- */

inline front_start()
{
	fs = DOWN;
	fs_nonce = 0;
	fs_back_nonce = 0;
	fs_session = 0;
	fs_spurned = 0;
	fs_error = false;
	fs_gone = false;
	fs_waits = false;
	fs_lives = true
}

/* session_end(), then what is written */
inline front_lost(to, is_spurned)
{
	fs_session = 0;
	if
	:: is_spurned -> fs_spurned = fs_back_nonce; fs_waits = true
	:: else
	fi;
	f_state = to;
	if
	:: to == BROKEN -> fs = BROKEN
	:: else -> f_session = 0; fs = DOWN
	fi
}

inline front_dropped()
{
	told_gone = false;
	fs_gone = true;
	fs_spurned = fs_back_nonce;
	if
	:: fs == RUNNING -> front_lost(NONE, false)
	:: fs == CONNECTING -> fs = DOWN
	:: else
	fi
}

#define FITS		(b_nonce && !(b_nonce == fs_spurned && (fs_gone || fs_waits)))

#ifdef NO_NONCE_CHECK
#define IS_MINE		true
#else
#define IS_MINE		(b_session_nonce == fs_nonce)
#endif

/* What a look finds to do. */
#define FRONT_GOES	(fs == RUNNING && (fs_error || b_state != CONNECTED || \
			 b_nonce != fs_back_nonce || b_session != fs_session))

#ifdef NO_RETRY
#define MAY_RETRY	false
#else
#define MAY_RETRY	(!fs_waits || b_nonce != fs_back_nonce)
#endif

proctype frontend()
{
end:	do
	:: atomic { fs_lives && told_gone -> front_dropped() }
	:: atomic { fs_lives && told_there && !told_gone -> told_there = false; fs_gone = false }
	:: atomic { fs_lives && fs_waits -> fs_waits = false }
	/* look_running() */
	:: atomic {
		fs_lives && FRONT_GOES ->
		if
		:: fs_error -> front_lost(BROKEN, true)
		:: !fs_error && b_state == BROKEN -> front_lost(NONE, true)
		:: !fs_error && b_state != BROKEN -> front_lost(NONE, false)
		fi
	   }
	/* look_broken() */
	:: atomic { fs_lives && fs == BROKEN && MAY_RETRY -> fs = DOWN }
	/* look_down() */
	:: atomic {
		fs_lives && fs == DOWN && FITS && b_state != NONE && b_state != CLOSED ->
		fs_back_nonce = b_nonce;
		fs_error = false;
		fs_gone = false;
		fresh_f();
		fs_nonce = h;
		f_session = 0
	   };
	   f_nonce = fs_nonce;
	   atomic { f_state = CONNECT; fs = CONNECTING }
	/* look_connecting() */
#ifdef IMPATIENT
	:: atomic { fs_lives && fs == CONNECTING && b_state != CONNECTED -> fs = DOWN }
#endif
	:: atomic {
		fs_lives && fs == CONNECTING &&
		(b_nonce != fs_back_nonce || b_state == NONE || b_state == CLOSED) ->
		f_state = NONE;
		fs = DOWN
	   }
	:: atomic {
		fs_lives && fs == CONNECTING && b_nonce == fs_back_nonce &&
		b_state == CONNECTED && IS_MINE && b_session ->
		/* session_begin() */
		assert(!fs_session);
		assert(!hc || !bs_lives);
		fs_session = b_session;
		f_session = b_session
	   };
	   atomic { f_state = RUNNING; fs = RUNNING }
#ifdef LYING_BACK
	:: atomic { !bs_lives && fs == RUNNING && !fs_error -> fs_error = true }
#else
	/* It is restored from an image, or its kernel crashes and comes up again. */
	:: atomic {
		fs_lives && fs_restarts < RESTARTS && (fs == RUNNING || fs == CONNECTING) ->
		fs_restarts++;
		if
		:: fs == RUNNING -> front_lost(NONE, false)
		:: else -> fs = DOWN
		fi
	   }
	:: atomic { fs_lives && fs_restarts < RESTARTS -> fs_restarts++; front_start() }
#endif
	od
}

/* ---- usbback ---- */

#define SAYS(reason)	(bs == CONNECTED || bs == RUNNING) && (reason)
#define RESTARTED	(f_nonce != bs_front_nonce)
#define ENDS		(bs_gone || RESTARTED || f_state == NONE || f_state == CLOSING || \
			 f_state == BROKEN)
#define MISBEHAVES	(!ENDS && !(f_state == CONNECT && bs == CONNECTED) && \
			 !(f_state == RUNNING && bs == RUNNING) && \
			 (f_state != RUNNING || f_session != bs_session))

/* session_end() */
inline back_end()
{
	bs_refused = bs_front_nonce;
#ifndef KEEP_GONE
	bs_gone = false;
#endif
	bs = ENDING
}

#ifdef EARLY_SESSION
#define HAS_LET_GO	true
#else
#define HAS_LET_GO	!hc
#endif

#ifdef LYING_BACK
bool is_lying = true;
#define BACK_MAY_COME	!is_lying
#else
#define BACK_MAY_COME	true
#endif

#define NEXT(n)		((n) == 4 -> 1 : (n) + 1)

proctype backend()
{
end:	do
	/* look_session() */
	:: atomic {
		bs_lives && SAYS(bs_error || MISBEHAVES) ->
		bs_error = false;
		bs_end_broken = true;
		b_state = BROKEN;
		back_end()
	   }
	:: atomic { bs_lives && SAYS(!bs_error && ENDS) -> back_end() }
	:: atomic {
		bs_lives && bs == CONNECTED && !bs_error && !ENDS &&
		f_state == RUNNING && f_session == bs_session -> bs = RUNNING
	   }
	/* Submissions are taken. */
	:: atomic {
		bs_lives && bs == RUNNING && !bs_took && !RESTARTED && f_state == RUNNING &&
		f_session == bs_session ->
		assert(!fs_lives || fs_session == bs_session || fs_session == 0);
		bs_took = true;
		hc = true;
		hc_session = bs_session
	   }
	/* look_ending(), look_idle() */
	:: atomic {
		bs_lives && bs_gone && (bs == ENDING || bs == IDLE || bs == BROKEN) ->
		bs_gone = false;
		bs_refused = f_nonce
	   }
	:: atomic {
		bs_lives && bs == ENDING && !bs_gone && HAS_LET_GO ->
		if
		:: bs_end_broken -> bs = BROKEN
		:: else -> b_state = READY; bs = IDLE
		fi
	   }
	:: atomic {
		bs_lives && (bs == IDLE || bs == BROKEN) && !bs_gone && !bs_closing &&
		f_state == CONNECT && f_nonce && f_nonce != bs_refused ->
		/* session_begin() */
		assert(!hc);
		bs_took = false;
		bs_error = false;
		bs_end_broken = false;
		bs_front_nonce = f_nonce;
		bs_session = NEXT(bs_session);
		b_session = bs_session
	   };
	   b_session_nonce = bs_front_nonce;
	   atomic { b_state = CONNECTED; bs = CONNECTED }
#ifdef LYING_FRONT
	/* What it wrote was no good: front_acceptable(), or it broke the rings. */
	:: atomic {
		bs_lives && !fs_lives && (bs == IDLE || bs == BROKEN) && !bs_gone &&
		f_state == CONNECT && f_nonce && f_nonce != bs_refused ->
		bs_front_nonce = f_nonce;
		bs_refused = f_nonce;
		b_state = BROKEN;
		bs = BROKEN
	   }
	:: atomic { !fs_lives && SAYS(!bs_error) -> bs_error = true }
#else
	:: atomic {
		bs_lives && SAYS(true) && bs_restarts < RESTARTS ->
		bs_restarts++;
		bs_closing = true;
		back_end()
	   }
	:: atomic { bs_lives && bs_restarts < RESTARTS -> bs_restarts++; bs_lives = false }
#endif
	/* session_close() */
	:: atomic {
		bs_lives && (bs == IDLE || bs == BROKEN) && bs_closing ->
		b_state = CLOSED;
		bs_closing = false;
		bs_lives = false
	   }
	/* usbback_session_init(); the host controller went with the one before. */
	:: atomic {
		!bs_lives && BACK_MAY_COME ->
		hc = false;
		hc_session = 0;
		bs_took = false;
		bs = IDLE;
		bs_front_nonce = 0;
		bs_refused = 0;
		bs_error = false;
		bs_end_broken = false;
		bs_gone = false;
		bs_closing = false;
		fresh_b();
		bs_nonce = h;
		bs_session = b_session;
		b_state = NONE
	   };
	   b_session_nonce = 0;
	   b_nonce = bs_nonce;
	   atomic { b_state = READY; bs_lives = true; told_there = true }
	od
}

proctype controller()
{
end:	do
	:: atomic { hc -> hc = false; hc_session = 0 }
	od
}

/* ---- who lies ---- */

#ifdef LYING_BACK
proctype liar()
{
progress:
	do
	:: atomic {
		if
		:: b_state = NONE
		:: b_state = READY
		:: b_state = CONNECTED
		:: b_state = CLOSED
		:: b_state = BROKEN
		:: b_nonce = 1
		:: b_nonce = 2
		:: b_session_nonce = f_nonce
		:: b_session = 0
		:: b_session = 1
		:: told_gone = true
		fi
	   }
	:: atomic { is_lying = false; break }
	od
}
#endif

#ifdef LYING_FRONT
#ifdef KEEP_GONE
#define GONE_SEEN	(!bs_gone || bs == ENDING)
#else
#define GONE_SEEN	!bs_gone
#endif

proctype liar()
{
progress:
	do
	:: atomic {
		if
		:: f_state = NONE
		:: f_state = CONNECT
		:: f_state = RUNNING
		:: f_state = CLOSING
		:: f_state = BROKEN
		:: f_nonce = 0
		:: f_nonce = 1
		:: f_nonce = 2
		:: f_session = b_session
		:: f_session = 0
		:: bs_gone = true
		fi
	   }
	:: break
	od;
	/* It dies, and usbback has seen that when the next one writes something. */
	if
	:: bs_gone = true
	:: true
	fi;
	GONE_SEEN;
	atomic { front_start() }
}
#endif

/* When nothing can happen any more. */
proctype watch()
{
	timeout ->
	assert(fs_lives && bs_lives);
	assert(fs == RUNNING && bs == RUNNING);
	assert(fs_session == bs_session && bs_front_nonce == fs_nonce);
	assert(!hc || hc_session == fs_session);
	END
}

init {
	atomic {
		run frontend();
		run backend();
		run controller();
#if defined(LYING_BACK) || defined(LYING_FRONT)
		run liar();
#endif
#ifndef LYING_FRONT
		front_start();
#endif
		run watch()
	}
}
