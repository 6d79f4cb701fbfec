/* SPDX-License-Identifier: GPL-2.0 */
/* Isochronous requests and frame numbers, as other files of usbfront see them. */
#ifndef USBFRONT_ISO_H
#define USBFRONT_ISO_H

#include "usbfront.h"

/**
 * struct usbfront_cursor - a place in the extents of a request
 * @uf: channel
 * @block: first block of the extent
 * @at: octets into the extent
 */
struct usbfront_cursor {
	struct usbfront *uf;
	u32 block;
	u32 at;
};

/* copy.c: without the lock */
void usbfront_copy_flat(struct usbfront_cursor *cur, void *mem, u32 len,
			bool is_in);
u64 usbfront_table_offset(const struct usbfront *uf,
			  const struct usbfront_req *req);

/* iso.c: with uf->lock held, but for the copies */
int usbfront_iso_check(const struct usbfront *uf, struct usbfront_ep *uep,
		       const struct urb *urb);
int usbfront_iso_piece(const struct usbfront *uf,
		       const struct usbfront_xfer *xfer, u32 allowed,
		       u32 *packets);
void usbfront_iso_fill(const struct usbfront_req *req,
		       struct usbif_request *wire);
void usbfront_iso_refused(struct usbfront_ep *uep, int error);
void usbfront_iso_copy_out(struct usbfront *uf, const struct urb *urb,
			   const struct usbfront_req *req);
void usbfront_iso_write_packets(struct usbfront *uf,
				const struct usbfront_req *req, u64 offset);
bool usbfront_iso_take(struct usbfront *uf, const struct usbfront_req *req,
		       const struct usbif_response *rsp);
void usbfront_frame_ask(struct usbfront *uf, struct usbfront_port *port);
void usbfront_frame_answer(struct usbfront *uf, const struct usbfront_req *req,
			   const struct usbif_response *rsp);
u32 usbfront_frame_now(const struct usbfront_clock *clock);
int usbfront_get_frame_number(struct usb_hcd *hcd);

#endif /* USBFRONT_ISO_H */
