/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * One direction of a usbif channel: a single-producer, single-consumer ring in
 * memory that a hostile peer can write at any time.
 *
 * Barriers. They stand in ring.c; those of the layout and of the ports, which are no
 * rings, beside the functions that read and write them:
 *
 *   producer                                consumer
 *   --------                                --------
 *   usbif_prod_push: fill slot
 *   usbif_prod_publish: store prod  ----->  usbif_cons_avail: load prod
 *     (release)                               (acquire)
 *                                           usbif_cons_pop: copy slot
 *   usbif_prod_room: load cons      <-----  usbif_cons_commit: store cons
 *     (acquire)                               (release)
 *   usbif_prod_publish, full barrier,       usbif_cons_arm: store event,
 *   usbif_prod_need_kick: load event <--->    full barrier, load prod
 *
 * With the two full barriers either the producer sees the new event word and
 * rings, or the consumer sees the new entry: no wakeup is lost. tests/model has a
 * model of each, which fails without any one of them.
 *
 * Each side keeps its own index in private memory and never reads it back. The
 * peer's index is read once per call and checked against the private one. No
 * function here sleeps, allocates, prints or takes a lock: the caller
 * serialises all calls on one struct.
 */
#ifndef USBIF_RING_H
#define USBIF_RING_H

#include <linux/types.h>
#include "usbif.h"

/*
 * Memory that the peer can write. In the kernel sparse keeps it apart from other
 * pointers (see include/compat.h); only ring/ and the channel code look inside.
 */
#ifndef __usbif
#define __usbif
#endif

/**
 * struct usbif_prod - producer's end of a ring
 * @slots: first slot in shared memory
 * @prod_word: index we publish
 * @cons_word: index the consumer publishes
 * @event_word: index at which the consumer wants to be rung
 * @slot_size: octets of a slot
 * @size: slots, a power of two
 * @prod: next slot to fill (private)
 * @published: value last stored in *@prod_word
 * @kicked: index up to which usbif_prod_need_kick() has decided
 * @cons: last good value of *@cons_word
 */
struct usbif_prod {
	void __usbif *slots;
	__le32 __usbif *prod_word;
	__le32 __usbif *cons_word;
	__le32 __usbif *event_word;
	u32 slot_size;
	u32 size;
	u32 prod;
	u32 published;
	u32 kicked;
	u32 cons;
};

/**
 * struct usbif_cons - consumer's end of a ring
 * @slots: first slot in shared memory
 * @prod_word: index the producer publishes
 * @cons_word: index we publish
 * @event_word: index at which we want to be rung
 * @slot_size: octets of a slot
 * @size: slots, a power of two
 * @cons: next slot to take (private)
 * @prod: last good value of *@prod_word
 * @event: value last stored in *@event_word to be rung
 * @armed: that was not taken back
 */
struct usbif_cons {
	void __usbif *slots;
	__le32 __usbif *prod_word;
	__le32 __usbif *cons_word;
	__le32 __usbif *event_word;
	u32 slot_size;
	u32 size;
	u32 cons;
	u32 prod;
	u32 event;
	bool armed;
};

/* Sets the private state to @start and stores it in *prod_word. */
void usbif_prod_init(struct usbif_prod *p, void __usbif *slots, u32 slot_size,
		     u32 size, __le32 __usbif *prod_word,
		     __le32 __usbif *cons_word, __le32 __usbif *event_word,
		     u32 start);
/* Free slots, or -EPROTO if the consumer's index is impossible. */
int usbif_prod_room(struct usbif_prod *p);
/* Published entries not consumed yet by the consumer's word, or -EPROTO. */
int usbif_prod_unconsumed(struct usbif_prod *p);
/* Copies one entry into the next slot; the caller knows that there is room. */
void usbif_prod_push(struct usbif_prod *p, const void *entry);
/* Makes everything pushed visible. */
void usbif_prod_publish(struct usbif_prod *p);
/* True if the consumer asked to be rung for something published since the last call. */
bool usbif_prod_need_kick(struct usbif_prod *p);

/* Sets the private state to @start and stores it in *cons_word and *event_word. */
void usbif_cons_init(struct usbif_cons *c, void __usbif *slots, u32 slot_size,
		     u32 size, __le32 __usbif *prod_word,
		     __le32 __usbif *cons_word, __le32 __usbif *event_word,
		     u32 start);
/* Entries to take, or -EPROTO if the producer's index is impossible. */
int usbif_cons_avail(struct usbif_cons *c);
/* Copies the next entry out; the caller knows that there is one. */
void usbif_cons_pop(struct usbif_cons *c, void *entry);
/* Gives the slots taken back to the producer. */
void usbif_cons_commit(struct usbif_cons *c);
/*
 * Asks to be rung for the next entry. True if there is something already (do not
 * sleep); -EPROTO counts as something.
 */
bool usbif_cons_arm(struct usbif_cons *c);
/* Asks not to be rung; cheap, used while the consumer is looking anyway. */
void usbif_cons_disarm(struct usbif_cons *c);

#endif /* USBIF_RING_H */
