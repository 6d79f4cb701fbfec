/* SPDX-License-Identifier: GPL-2.0 */
/* Sleep of ports and devices, and remote wakeup: power.c. */
#ifndef USBFRONT_POWER_H
#define USBFRONT_POWER_H

#include "usbfront.h"

/* With uf->lock held unless said otherwise */
void usbfront_port_wake(struct usbfront_port *port);
void usbfront_port_wakeup(struct usbfront_port *port);
bool usbfront_is_waker(struct usbfront *uf);		/* takes the lock */
bool usbfront_may_wake(struct usbfront_port *port, bool may_wake);
void usbfront_power_clear(struct usbfront_port *port);
void usbfront_power_done(struct usbfront_port *port, u8 op, u32 status);
void usbfront_port_send_power(struct usbfront_port *port);
int usbfront_port_suspend(struct usbfront_port *port,	/* takes the lock */
			  enum usbfront_side side);
int usbfront_bus_suspend(struct usb_hcd *hcd);		/* takes the lock */
int usbfront_bus_resume(struct usb_hcd *hcd);		/* takes the lock */

#endif /* USBFRONT_POWER_H */
