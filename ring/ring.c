// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT
/*
 * One direction of a channel; the contract is in ring.h. The barriers are the virt_
 * kind: the peer runs on another processor even where this kernel has only one.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <asm/barrier.h>
#include <asm/byteorder.h>
#include "proto.h"
#include "ring.h"

/**
 * usbif_word_read - read a word of the other side, once
 * @word: in shared memory
 *
 * Return: its value.
 */
u32 usbif_word_read(const __le32 __usbif *word)
{
	const u32 *raw = (const u32 __force *)word;

	return le32_to_cpu((__le32 __force)READ_ONCE(*raw));
}

/**
 * usbif_word_read_acquire - read a word of the other side before all that follows
 * @word: in shared memory
 *
 * Return: its value.
 */
u32 usbif_word_read_acquire(const __le32 __usbif *word)
{
	const u32 *raw = (const u32 __force *)word;

	/* Pairs with usbif_word_write_release(). */
	return le32_to_cpu((__le32 __force)virt_load_acquire(raw));
}

/**
 * usbif_word_write - write a word of ours, once
 * @word: in shared memory
 * @value: to store
 */
void usbif_word_write(__le32 __usbif *word, u32 value)
{
	u32 *raw = (u32 __force *)word;

	WRITE_ONCE(*raw, (u32 __force)cpu_to_le32(value));
}

/**
 * usbif_word_write_release - write a word of ours after all that came before
 * @word: in shared memory
 * @value: to store
 */
void usbif_word_write_release(__le32 __usbif *word, u32 value)
{
	u32 *raw = (u32 __force *)word;

	/* Pairs with usbif_word_read_acquire(). */
	virt_store_release(raw, (u32 __force)cpu_to_le32(value));
}

static void *slot_of(void __usbif *slots, u32 index, u32 size, u32 slot_size)
{
	return (void __force *)slots + (size_t)(index & (size - 1)) * slot_size;
}

/**
 * usbif_prod_init - begin to produce
 * @p: producer's end
 * @slots: first slot
 * @slot_size: octets of a slot
 * @size: slots, a power of two
 * @prod_word: index that we publish
 * @cons_word: index that the consumer publishes; not read here
 * @event_word: index at which the consumer wants to be rung; not read here
 * @start: first index
 */
void usbif_prod_init(struct usbif_prod *p, void __usbif *slots, u32 slot_size,
		     u32 size, __le32 __usbif *prod_word,
		     __le32 __usbif *cons_word, __le32 __usbif *event_word,
		     u32 start)
{
	p->slots = slots;
	p->prod_word = prod_word;
	p->cons_word = cons_word;
	p->event_word = event_word;
	p->slot_size = slot_size;
	p->size = size;
	p->prod = start;
	p->published = start;
	p->kicked = start;
	p->cons = start;
	usbif_word_write(prod_word, start);
}

/*
 * The consumer's index must lie between where it was and what it has been given.
 * Acquire pairs with the release in usbif_cons_commit(): the consumer has done with
 * a slot before we fill it again.
 */
static int prod_update(struct usbif_prod *p)
{
	u32 cons = usbif_word_read_acquire(p->cons_word);

	if (cons - p->cons > p->published - p->cons)
		return -EPROTO;
	p->cons = cons;
	return 0;
}

/**
 * usbif_prod_room - see how many entries can be pushed
 * @p: producer's end
 *
 * Return: free slots, or -EPROTO if the consumer's index is impossible.
 */
int usbif_prod_room(struct usbif_prod *p)
{
	int ret = prod_update(p);

	return ret ?: (int)(p->size - (p->prod - p->cons));
}

/**
 * usbif_prod_unconsumed - see how far the consumer is behind
 * @p: producer's end
 *
 * Return: entries published and not consumed, or -EPROTO if the consumer's index is
 * impossible.
 */
int usbif_prod_unconsumed(struct usbif_prod *p)
{
	int ret = prod_update(p);

	return ret ?: (int)(p->published - p->cons);
}

/**
 * usbif_prod_push - fill the next slot
 * @p: producer's end; the caller knows that it has room
 * @entry: slot_size octets
 */
void usbif_prod_push(struct usbif_prod *p, const void *entry)
{
	memcpy(slot_of(p->slots, p->prod, p->size, p->slot_size), entry,
	       p->slot_size);
	p->prod++;
}

/**
 * usbif_prod_publish - give the consumer all that was pushed
 * @p: producer's end
 *
 * Release pairs with the acquire in usbif_cons_avail(): the consumer that sees the
 * index sees the entries.
 */
void usbif_prod_publish(struct usbif_prod *p)
{
	p->published = p->prod;
	usbif_word_write_release(p->prod_word, p->published);
}

/**
 * usbif_prod_need_kick - see whether the consumer wants to be rung
 * @p: producer's end
 *
 * Return: true if it asked for something that was published since the last call.
 */
bool usbif_prod_need_kick(struct usbif_prod *p)
{
	u32 old = p->kicked;
	u32 event;

	/* Pairs with the one in usbif_cons_arm(). */
	virt_mb();
	event = usbif_word_read(p->event_word);
	p->kicked = p->published;
	return (u32)(p->published - event - 1) < (u32)(p->published - old);
}

/**
 * usbif_cons_init - begin to consume
 * @c: consumer's end
 * @slots: first slot
 * @slot_size: octets of a slot
 * @size: slots, a power of two
 * @prod_word: index that the producer publishes; not read here
 * @cons_word: index that we publish
 * @event_word: index at which we want to be rung
 * @start: first index
 *
 * The ring is armed afterwards.
 */
void usbif_cons_init(struct usbif_cons *c, void __usbif *slots, u32 slot_size,
		     u32 size, __le32 __usbif *prod_word,
		     __le32 __usbif *cons_word, __le32 __usbif *event_word,
		     u32 start)
{
	c->slots = slots;
	c->prod_word = prod_word;
	c->cons_word = cons_word;
	c->event_word = event_word;
	c->slot_size = slot_size;
	c->size = size;
	c->cons = start;
	c->prod = start;
	c->event = start;
	c->armed = true;
	usbif_word_write(cons_word, start);
	usbif_word_write(event_word, start);
}

/**
 * usbif_cons_avail - see how many entries can be popped
 * @c: consumer's end
 *
 * The producer's index must not lie before where it was nor more than the size
 * ahead of us. Acquire pairs with the release in usbif_prod_publish().
 *
 * Return: entries to take, or -EPROTO if the producer's index is impossible.
 */
int usbif_cons_avail(struct usbif_cons *c)
{
	u32 prod = usbif_word_read_acquire(c->prod_word);
	u32 avail = prod - c->cons;

	if (avail > c->size || avail < c->prod - c->cons)
		return -EPROTO;
	c->prod = prod;
	return avail;
}

/**
 * usbif_cons_pop - copy the next entry
 * @c: consumer's end; the caller knows that there is an entry
 * @entry: room for slot_size octets
 */
void usbif_cons_pop(struct usbif_cons *c, void *entry)
{
	memcpy(entry, slot_of(c->slots, c->cons, c->size, c->slot_size),
	       c->slot_size);
	/* What was copied is what is used: nothing may be fetched again. */
	barrier();
	c->cons++;
}

/**
 * usbif_cons_commit - give the slots taken back to the producer
 * @c: consumer's end
 *
 * Release pairs with the acquire in usbif_prod_room().
 */
void usbif_cons_commit(struct usbif_cons *c)
{
	usbif_word_write_release(c->cons_word, c->cons);
}

/**
 * usbif_cons_arm - ask to be rung for the next entry
 * @c: consumer's end
 *
 * Return: true if there is an entry already, or the producer's index is impossible:
 * do not sleep.
 */
bool usbif_cons_arm(struct usbif_cons *c)
{
	c->armed = true;
	c->event = c->cons;
	usbif_word_write(c->event_word, c->event);
	/* Pairs with the one in usbif_prod_need_kick(). */
	virt_mb();
	return usbif_cons_avail(c) != 0;
}

/**
 * usbif_cons_disarm - ask not to be rung
 * @c: consumer's end
 *
 * An event word that the producer has passed keeps it silent, so there is mostly
 * nothing to write.
 */
void usbif_cons_disarm(struct usbif_cons *c)
{
	if (!c->armed)
		return;
	c->armed = false;
	if (c->prod == c->event)
		usbif_word_write(c->event_word, c->cons - c->size - 1);
}
