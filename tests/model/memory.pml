/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of a machine that orders nothing by itself.
 *
 * Each word has one writer and one reader, as include/usbif.h wants it. What was stored
 * waits in @buf until it is seen to be in @mem, in any order with what else was stored
 * (but for the word itself). What is loaded is @seen: what was in @mem at any moment
 * since the last barrier, so that loads happen early, in any order.
 *
 * A model names its words, from 0 to WORDS - 1, and says with SHARED which they are.
 */
typedef word {
	byte mem;	/* what it is */
	byte buf;	/* stored */
	bool waits;	/* and not there yet */
	byte seen;	/* loaded beforehand */
};

word w[WORDS];

#define STORE(i, value)	d_step { w[i].buf = value; w[i].waits = true }
#define LOAD(i)		w[i].seen
#define THERE(i)	(!w[i].waits)
#define LOOK(i)		w[i].seen = w[i].mem

/* In the beginning everybody knows it. */
#define KNOWN(i, value)	w[i].mem = value; w[i].seen = value

proctype hardware(byte i)
{
end:	do
	:: d_step { w[i].waits -> w[i].mem = w[i].buf; w[i].waits = false }
	:: d_step { w[i].seen != w[i].mem -> w[i].seen = w[i].mem }
	od
}

/* To see that a model gets to where it ends at all. */
#ifdef REACH
#define END	assert(false)
#else
#define END	skip
#endif
