// SPDX-License-Identifier: GPL-2.0
/*
 * Isochronous requests: the packets between the table in shared memory and the URB.
 *
 * The geometry of the packets is taken from the thread's private copy of the table
 * once, at intake, and stands in the slot's URB from then on. An URB that has grown
 * for many packets stays with its slot. The results go into the table when the host
 * controller is done, before the completion is written; a request that it never had
 * gets them, too, so that the frontend never reads what it did not write itself.
 */
#include <linux/log2.h>
#include "backend.h"

#define PACKETS_LEAST	8u
#define BATCH		32u	/* results written at once */

int usbback_iso_renew(struct usbback_slot *slot, unsigned int packets)
{
	struct urb *old = slot->urb, *urb;

	packets = packets ? roundup_pow_of_two(max(packets, PACKETS_LEAST)) : 0;
	urb = usb_alloc_urb(packets, GFP_NOIO | __GFP_NOWARN);
	if (!urb)
		return -ENOMEM;
	memcpy(urb->iso_frame_desc, old->iso_frame_desc,
	       min(packets, slot->packets) * sizeof(*urb->iso_frame_desc));
	usb_free_urb(old);
	slot->urb = urb;
	slot->packets = packets;
	return 0;
}

int usbback_iso_prepare(struct usbback_slot *slot)
{
	const struct usbif_packet *packets = slot->ub->packets;
	unsigned int nr = slot->req.nr_packets, i;

	if (slot->packets < nr && usbback_iso_renew(slot, nr))
		return -ENOMEM;
	/* Whoever is still unlinking the URB does not look at these. */
	for (i = 0; i < nr; i++) {
		slot->urb->iso_frame_desc[i].offset = packets[i].offset;
		slot->urb->iso_frame_desc[i].length = packets[i].length;
	}
	slot->has_results = false;
	return 0;
}

/* Where the results are in the region. */
static u64 results_offset(const struct usbback_slot *slot)
{
	const struct usbif_request *req = &slot->req;

	return slot->ub->lay.pool_offset +
	       (u64)req->table_block * USBIF_BLOCK_SIZE + req->table_length -
	       req->nr_packets * sizeof(struct usbif_iso_result);
}

/*
 * What a packet has moved. Some host controller drivers take what a packet is from
 * elsewhere again, so it is not to be believed.
 */
static u32 packet_actual(const struct usbback_slot *slot,
			 const struct usb_iso_packet_descriptor *desc)
{
	u32 length = slot->req.length;

	if (desc->offset > length || desc->actual_length > length - desc->offset)
		return 0;
	return min(desc->actual_length, desc->length);
}

u32 usbback_iso_results(struct usbback_slot *slot)
{
	const struct usb_iso_packet_descriptor *desc = slot->urb->iso_frame_desc;
	unsigned int nr = slot->req.nr_packets, i, n;
	u64 offset = results_offset(slot);
	struct usbif_iso_result out[BATCH];
	u32 sum = 0;

	for (i = 0; i < nr; i += n) {
		for (n = 0; n < BATCH && i + n < nr; n++) {
			u32 actual = packet_actual(slot, &desc[i + n]);
			u32 status = usbif_status_from_errno(desc[i + n].status);

			if (actual != desc[i + n].actual_length && !status)
				status = USBIF_ST_OVERFLOW;
			out[n].actual = cpu_to_le32(actual);
			out[n].status = cpu_to_le32(status);
			sum += actual;
		}
		usbif_chan_write(slot->ub->chan, offset, out, n * sizeof(*out));
		offset += n * sizeof(*out);
	}
	slot->has_results = true;
	return min(sum, slot->req.length);
}

/* No packet was moved. */
static void write_unmoved(struct usbback_slot *slot)
{
	static const struct usbif_iso_result unmoved[BATCH] = {
		[0 ... BATCH - 1] = { .status = cpu_to_le32(USBIF_ST_PARTIAL) },
	};
	u32 left = slot->req.nr_packets, n;
	u64 offset = results_offset(slot);

	for (; left; left -= n) {
		n = min(left, BATCH);
		usbif_chan_write(slot->ub->chan, offset, unmoved,
				 n * sizeof(unmoved[0]));
		offset += n * sizeof(unmoved[0]);
	}
}

void usbback_iso_finish(struct usbback_slot *slot, struct usbif_response *rsp)
{
	lockdep_assert_held(&slot->ub->lock);
	if (slot->has_results) {
		rsp->start_frame = slot->urb->start_frame;
		rsp->error_count = clamp_t(int, slot->urb->error_count, 0,
					   slot->req.nr_packets);
		return;
	}
	write_unmoved(slot);
	rsp->error_count = slot->req.nr_packets;
}

/**
 * struct cursor - a place in the data of a request
 * @range: extent
 * @at: where it begins in the data
 */
struct cursor {
	const struct usbif_range *range;
	u32 at;
};

static void copy_packet(struct usbback_slot *slot, struct cursor *cur, u32 offset,
			u32 len)
{
	struct usbback *ub = slot->ub;

	while (len) {
		u32 skip, n;

		while (offset - cur->at >= cur->range->length) {
			cur->at += cur->range->length;
			cur->range++;
		}
		skip = offset - cur->at;
		n = min(len, cur->range->length - skip);
		usbif_chan_write(ub->chan, ub->lay.pool_offset + skip +
				 (u64)cur->range->block * USBIF_BLOCK_SIZE,
				 slot->linear + offset, n);
		offset += n;
		len -= n;
	}
}

void usbback_iso_copy_in(struct usbback_slot *slot)
{
	const struct usb_iso_packet_descriptor *desc = slot->urb->iso_frame_desc;
	struct cursor cur = { .range = slot->ranges };
	unsigned int i;

	/* Only what came: the rest of the buffer may be anybody's. */
	for (i = 0; i < slot->req.nr_packets; i++) {
		if (desc[i].offset < cur.at)
			cur = (struct cursor){ .range = slot->ranges };
		copy_packet(slot, &cur, desc[i].offset,
			    packet_actual(slot, &desc[i]));
	}
}

void usbback_iso_get_frame(struct usbback *ub, const struct usbif_request *req)
{
	u8 status = USBIF_ST_NODEV;
	struct usbback_port *port;
	int frame = 0;

	spin_lock_irq(&ub->lock);
	ub->seq++;
	port = usbback_port_find(ub, req->vusb, req->port, req->port_epoch);
	if (port) {
		frame = usb_get_current_frame_number(port->udev);
		status = frame < 0 ? USBIF_ST_SUSPENDED : USBIF_ST_OK;
	}
	usbback_session_respond(ub, req->id, status, 0, 0, max(frame, 0));
	spin_unlock_irq(&ub->lock);
}
