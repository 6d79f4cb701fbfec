/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a hostile peer can write at any time is copied, checked, and used: what is used
 * is what was checked. Without the barrier (NO_BARRIER) behind the copy a compiler may
 * take the value from where it came from once more. This is barrier() in
 * usbif_cons_pop(), usbif_ident_read() and usbif_chan_read().
 */
byte shared;

active proctype peer()
{
end:	do
	:: shared = 1 - shared
	od
}

active proctype reader()
{
	byte copy, used;

	copy = shared;
	(copy == 0);	/* what the check lets pass */
	if
	:: used = copy
#ifdef NO_BARRIER
	:: used = shared
#endif
	fi;
	assert(used == 0);
#ifdef REACH
	assert(false)
#endif
}
