/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One direction of a channel, as ring/ring.c has it: entries come whole and in order, and
 * nobody sleeps over one. A barrier is left out with
 *
 *	NO_PUBLISH_RELEASE	usbif_prod_publish()
 *	NO_AVAIL_ACQUIRE	usbif_cons_avail()
 *	NO_COMMIT_RELEASE	usbif_cons_commit()
 *	NO_ROOM_ACQUIRE		prod_update()
 *	NO_KICK_MB		usbif_prod_need_kick()
 *	NO_ARM_MB		usbif_cons_arm()
 *
 * Beyond what memory.pml does, an entry may be loaded late, when the index is given back
 * already, and be stored early, before the index that says that there is room was
 * loaded: that a branch depends on it keeps processors from that, but no compiler.
 */
#define SLOT		0	/* and 1 */
#define PROD		2
#define CONS		3
#define EVENT		4
#define WORDS		5
#include "memory.pml"

#define SIZE		2
#define ENTRIES		4
#define START		254	/* indices are octets here, and go through 0 */
#define LAST		((START + ENTRIES) & 255)
#define SUB(a, b)	(((a) - (b)) & 255)
#define NEXT(a)		(((a) + 1) & 255)
#define SLOT_OF(index)	(SLOT + ((index) & (SIZE - 1)))

/* Of one side each; the watch looks at some of them. */
byte published = START;		/* producer */
bool decided = true;		/* whether to ring for all of that */
bool guessing;			/* has not looked whether there is room */
byte cons = START;		/* consumer */
bool asleep;
bool late;			/* has not loaded an entry before, */
byte late_index;		/* this one */
bool bad;			/* what was loaded was none */
bool bell;

#define PROD_STORED	(THERE(SLOT) && THERE(SLOT + 1) && THERE(PROD))
#define CONS_STORED	(THERE(CONS) && THERE(EVENT))

proctype producer()
{
	byte prod = START;
	byte kicked = START;

	do
	:: prod != LAST ->
		/* usbif_prod_room() */
#ifdef NO_ROOM_ACQUIRE
		if
		:: SUB(prod, LOAD(CONS)) < SIZE
		:: SUB(prod, LOAD(CONS)) >= SIZE -> guessing = true
		fi;
#else
		d_step {
			SUB(prod, LOAD(CONS)) < SIZE ->
			LOOK(CONS); LOOK(EVENT)
		}
#endif
		/* usbif_prod_push() */
		STORE(SLOT_OF(prod), prod);
		atomic {
			!guessing || SUB(prod, w[CONS].mem) < SIZE ->
			guessing = false
		}
		prod = NEXT(prod);
		/* usbif_prod_publish() */
#ifndef NO_PUBLISH_RELEASE
		PROD_STORED;
#endif
		atomic {
			decided = false;
			published = prod;
			STORE(PROD, published)
		}
		if
		/* more is to come first, for which there is room */
		:: prod != LAST && SUB(prod, LOAD(CONS)) < SIZE
		:: true ->
			/* usbif_prod_need_kick() */
#ifndef NO_KICK_MB
			d_step { PROD_STORED -> LOOK(CONS); LOOK(EVENT) }
#endif
			atomic {
				if
				:: SUB(SUB(published, LOAD(EVENT)), 1) <
				   SUB(published, kicked) -> bell = true
				:: else
				fi;
				kicked = published;
				decided = true
			}
		fi
	:: else -> break
	od
}

#define WRONG(index)	(LOAD(SLOT_OF(index)) != (index))

proctype consumer()
{
	byte prod = START;
	byte event = START;
	bool armed = true;

	do
	:: cons == LAST -> break
	:: armed ->
		/* usbif_cons_disarm(), which not everybody calls each time */
		armed = false;
		if
		:: prod == event -> STORE(EVENT, SUB(cons, SIZE + 1))
		:: else
		fi
	:: cons != LAST ->
		/* usbif_cons_avail() */
		d_step {
			prod = LOAD(PROD);
			LOOK(PROD);
#ifndef NO_AVAIL_ACQUIRE
			LOOK(SLOT); LOOK(SLOT + 1)
#endif
		}
		if
		:: prod == cons -> goto sleep
		:: else
		fi;
pop:		/* usbif_cons_pop() */
		if
		:: d_step {
			bad = bad || WRONG(cons);
			cons = NEXT(cons)
		   }
		:: d_step {
			!late ->
			late = true;
			late_index = cons;
			cons = NEXT(cons)
		   }
		fi;
		if
		:: prod != cons -> goto pop
		:: true	/* the rest later */
		fi;
		/* usbif_cons_commit() */
#ifndef NO_COMMIT_RELEASE
		!late && CONS_STORED;
#endif
		STORE(CONS, cons);
		goto next;

sleep:		/* usbif_cons_arm() */
		armed = true;
		event = cons;
		STORE(EVENT, event);
#ifndef NO_ARM_MB
		d_step { CONS_STORED -> LOOK(SLOT); LOOK(SLOT + 1); LOOK(PROD) }
#endif
		d_step {
			prod = LOAD(PROD);
			LOOK(PROD);
#ifndef NO_AVAIL_ACQUIRE
			LOOK(SLOT); LOOK(SLOT + 1);
#endif
			asleep = prod == cons
		}
		if
		:: asleep -> atomic { bell -> bell = false; asleep = false }
		:: else
		fi;
next:		skip
	od;
	!late;
	END
}

proctype later()
{
end:	do
	:: d_step {
		late ->
		bad = bad || WRONG(late_index);
		late = false
	   }
	od
}

/* What was guessed and turned out to be wrong never happened. */
proctype watch()
{
end:	do
	:: bad && !guessing -> assert(false)
	:: asleep && !bell && decided && published != cons -> assert(false)
	od
}

init {
	atomic {
		KNOWN(SLOT, 1);
		KNOWN(SLOT + 1, 0);
		KNOWN(PROD, START);
		KNOWN(CONS, START);
		KNOWN(EVENT, START);
		run hardware(SLOT);
		run hardware(SLOT + 1);
		run hardware(PROD);
		run hardware(CONS);
		run hardware(EVENT);
		run producer();
		run consumer();
		run later();
		run watch()
	}
}
