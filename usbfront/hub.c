// SPDX-License-Identifier: GPL-2.0
/*
 * Root hubs: the requests of USB 2.0, section 11.24.2, and USB 3.2, section 10.16.2.
 *
 * Nothing here waits, but for suspending, see power.c. What else takes time (reset,
 * resume) ends by itself, and the hub driver finds out with its next GetPortStatus. A
 * feature that is not known stalls.
 */
#include <linux/bitfield.h>
#include <linux/nospec.h>
#include "power.h"

#define RESUME_TIME	msecs_to_jiffies(20)	/* TDRSMDN */
#define SSAC		7	/* sublink speed attributes - 1 */
#define SSIC		3	/* sublink speeds - 1 */

/* Speed ids of the table below; 4 is what USB_EXT_PORT_STAT says for 5 Gbit/s. */
#define SSID_GEN1X1	4
#define SSID_GEN2X1	5
#define SSID_GEN2X2	7

#define SUBLINK(gbps, ssp, id, tx) cpu_to_le32(			\
	(gbps) << 16 | (ssp) << 14 | 3 << 4 | (tx) << 7 | (id))

static const struct {
	struct usb_bos_descriptor bos;
	struct usb_ss_cap_descriptor ss;
	u8 ssp[USB_DT_USB_SSP_CAP_SIZE(SSAC) - (SSAC + 1) * 4];
	__le32 sublinks[SSAC + 1];
} __packed bos_descriptor = {
	.bos = {
		.bLength		= USB_DT_BOS_SIZE,
		.bDescriptorType	= USB_DT_BOS,
		.wTotalLength		= cpu_to_le16(sizeof(bos_descriptor)),
		.bNumDeviceCaps		= 2,
	},
	/* No exit latencies: no U1 and U2, the host's controller has them. */
	.ss = {
		.bLength		= USB_DT_USB_SS_CAP_SIZE,
		.bDescriptorType	= USB_DT_DEVICE_CAPABILITY,
		.bDevCapabilityType	= USB_SS_CAP_TYPE,
		.wSpeedSupported	= cpu_to_le16(USB_5GBPS_OPERATION),
		.bFunctionalitySupport	= 3,
	},
	.ssp = {
		USB_DT_USB_SSP_CAP_SIZE(SSAC),
		USB_DT_DEVICE_CAPABILITY,
		USB_SSP_CAP_TYPE,
		0,
		SSIC << 5 | SSAC, 0, 0, 0,	/* bmAttributes */
		SSID_GEN1X1, 0x11,		/* wFunctionalitySupport */
		0, 0,
	},
	.sublinks = {
		SUBLINK(5, 0, 4, 0), SUBLINK(5, 0, 4, 1),	/* Gen 1x1 */
		SUBLINK(10, 1, 5, 0), SUBLINK(10, 1, 5, 1),	/* Gen 2x1 */
		SUBLINK(5, 1, 6, 0), SUBLINK(5, 1, 6, 1),	/* Gen 1x2 */
		SUBLINK(10, 1, 7, 0), SUBLINK(10, 1, 7, 1),	/* Gen 2x2 */
	},
};

/*
 * What a request is about. Ports are valid when it is made. It ends with suspending the
 * port if it says so, without the lock.
 */
struct hub_ctx {
	struct usbfront *uf;
	struct usbfront_port *port;
	struct usbfront_hport *hp;
	enum usbfront_side side;
	u16 value;
	u16 selector;		/* high octet of wIndex */
	u16 length;
	bool suspends;
	char *buf;
};

/* ---- descriptors ---- */

static int get_hub_descriptor(struct hub_ctx *ctx)
{
	struct usb_hub_descriptor *desc = (void *)ctx->buf;
	u8 type = ctx->value >> 8;

	memset(desc, 0, sizeof(*desc));
	desc->bNbrPorts = USBIF_MAX_PORTS;
	desc->wHubCharacteristics = cpu_to_le16(HUB_CHAR_INDV_PORT_LPSM |
						HUB_CHAR_NO_OCPM);
	if (ctx->side == USBFRONT_USB3) {
		if (type != USB_DT_SS_HUB || ctx->length < USB_DT_SS_HUB_SIZE)
			return -EPIPE;
		desc->bDescriptorType = USB_DT_SS_HUB;
		desc->bDescLength = USB_DT_SS_HUB_SIZE;
		return 0;
	}
	if (type && type != USB_DT_HUB)
		return -EPIPE;
	desc->bDescriptorType = USB_DT_HUB;
	desc->bDescLength = USB_DT_HUB_NONVAR_SIZE +
			    2 * (USBIF_MAX_PORTS / 8 + 1);
	/* A mask of fixed devices, zero, and one that has to be all ones. */
	memset((u8 *)&desc->u.hs + USBIF_MAX_PORTS / 8 + 1, 0xff,
	       USBIF_MAX_PORTS / 8 + 1);
	return 0;
}

static int get_descriptor(struct hub_ctx *ctx)
{
	u16 len = min_t(u16, ctx->length, sizeof(bos_descriptor));

	if (ctx->side != USBFRONT_USB3 || ctx->value >> 8 != USB_DT_BOS)
		return -EPIPE;
	memcpy(ctx->buf, &bos_descriptor, len);
	return len;
}

/* ---- status ---- */

static u16 usb2_status(const struct hub_ctx *ctx)
{
	u16 status = USB_PORT_STAT_POWER;

	switch (ctx->hp->state) {
	case USBFRONT_HUB_OFF:
		return 0;
	case USBFRONT_HUB_EMPTY:
		return status;
	case USBFRONT_HUB_CONNECTED:
		break;
	case USBFRONT_HUB_RESETTING:
		status |= USB_PORT_STAT_RESET;
		break;
	case USBFRONT_HUB_SUSPENDED:
	case USBFRONT_HUB_RESUMING:
		status |= USB_PORT_STAT_SUSPEND;
		fallthrough;
	default:
		status |= USB_PORT_STAT_ENABLE;
	}
	if (ctx->port->speed == USBIF_SPEED_LOW)
		status |= USB_PORT_STAT_LOW_SPEED;
	if (ctx->port->speed == USBIF_SPEED_HIGH)
		status |= USB_PORT_STAT_HIGH_SPEED;
	return status | USB_PORT_STAT_CONNECTION;
}

/* A SuperSpeed link trains itself: connected means enabled. */
static u16 usb3_status(const struct hub_ctx *ctx)
{
	u16 status = USB_SS_PORT_STAT_POWER | USB_PORT_STAT_CONNECTION;

	switch (ctx->hp->state) {
	case USBFRONT_HUB_OFF:
		return USB_SS_PORT_LS_SS_DISABLED;
	case USBFRONT_HUB_EMPTY:
		return USB_SS_PORT_STAT_POWER | USB_SS_PORT_LS_RX_DETECT;
	case USBFRONT_HUB_RESETTING:
		return status | USB_PORT_STAT_RESET | USB_SS_PORT_LS_HOT_RESET;
	case USBFRONT_HUB_SUSPENDED:
	case USBFRONT_HUB_RESUMING:
		return status | USB_PORT_STAT_ENABLE | USB_SS_PORT_LS_U3;
	default:
		return status | USB_PORT_STAT_ENABLE | ctx->hp->link;
	}
}

/* Speed id in both directions, lanes less one. */
static u32 ext_status(const struct hub_ctx *ctx)
{
	if (ctx->hp->state < USBFRONT_HUB_CONNECTED)
		return 0;
	switch (ctx->port->speed) {
	case USBIF_SPEED_SUPER_PLUS:
		return SSID_GEN2X1 | SSID_GEN2X1 << 4;
	case USBIF_SPEED_SUPER_PLUS_X2:
		return SSID_GEN2X2 | SSID_GEN2X2 << 4 | 1 << 8 | 1 << 12;
	default:
		return SSID_GEN1X1 | SSID_GEN1X1 << 4;
	}
}

/* Virtual hubs end their resume signalling when somebody looks. */
static void resume_finish(struct hub_ctx *ctx)
{
	if (ctx->hp->state == USBFRONT_HUB_RESUMING &&
	    time_after_eq(jiffies, ctx->hp->until))
		usbfront_hport_set(ctx->port, ctx->side, USBFRONT_HUB_ENABLED,
				   USB_PORT_STAT_C_SUSPEND);
}

static int get_port_status(struct hub_ctx *ctx)
{
	bool is_usb3 = ctx->side == USBFRONT_USB3;
	__le16 *words = (__le16 *)ctx->buf;
	u32 len = 4;

	if (ctx->value == HUB_EXT_PORT_STATUS && is_usb3)
		len = sizeof(struct usb_port_status);
	else if (ctx->value != HUB_PORT_STATUS)
		return -EPIPE;
	if (ctx->length < len)
		return -EPIPE;
	resume_finish(ctx);
	if (ctx->hp->state == USBFRONT_HUB_EMPTY)
		ctx->hp->is_gone_read = true;
	words[0] = cpu_to_le16(is_usb3 ? usb3_status(ctx) : usb2_status(ctx));
	words[1] = cpu_to_le16(ctx->hp->change);
	if (len > 4)
		*(__le32 *)&words[2] = cpu_to_le32(ext_status(ctx));
	return 0;
}

/* ---- features ---- */

static void power(struct hub_ctx *ctx, bool on)
{
	bool is_here = ctx->port->epoch &&
		       usbfront_side_of(ctx->port->speed) == ctx->side;

	if (!on) {
		if (ctx->hp->state == USBFRONT_HUB_OFF)
			return;
		if (is_here)
			usbfront_port_flush(ctx->port, -ESHUTDOWN);
		usbfront_hport_set(ctx->port, ctx->side, USBFRONT_HUB_OFF, 0);
		ctx->port->is_clean = false;
		ctx->hp->change = 0;
		ctx->hp->is_gone_unseen = false;
		usbfront_port_sync(ctx->port);
	} else if (ctx->hp->state == USBFRONT_HUB_OFF) {
		usbfront_hport_set(ctx->port, ctx->side, is_here ?
				   USBFRONT_HUB_CONNECTED : USBFRONT_HUB_EMPTY,
				   is_here ? USB_PORT_STAT_C_CONNECTION : 0);
	}
}

static int clear_connection(struct hub_ctx *ctx)
{
	ctx->hp->change &= ~USB_PORT_STAT_C_CONNECTION;
	if (!ctx->hp->is_gone_unseen)
		return 0;
	/* That was for something older: the device's going is yet to be read. */
	if (!ctx->hp->is_gone_read) {
		usbfront_hport_set(ctx->port, ctx->side, ctx->hp->state,
				   USB_PORT_STAT_C_CONNECTION);
		return 0;
	}
	ctx->hp->is_gone_unseen = false;
	usbfront_port_sync(ctx->port);
	return 0;
}

static int clear_change(struct hub_ctx *ctx, u16 change)
{
	ctx->hp->change &= ~change;
	return 0;
}

static int clear_usb2_feature(struct hub_ctx *ctx)
{
	struct usbfront_hport *hp = ctx->hp;

	switch (ctx->value) {
	case USB_PORT_FEAT_ENABLE:
		if (hp->state > USBFRONT_HUB_CONNECTED)
			usbfront_hport_set(ctx->port, ctx->side,
					   USBFRONT_HUB_CONNECTED, 0);
		return 0;
	case USB_PORT_FEAT_SUSPEND:
		if (hp->state == USBFRONT_HUB_SUSPENDED) {
			usbfront_hport_set(ctx->port, ctx->side,
					   USBFRONT_HUB_RESUMING, 0);
			hp->until = jiffies + RESUME_TIME;
			usbfront_port_wake(ctx->port);
		}
		return 0;
	case USB_PORT_FEAT_C_ENABLE:
		return clear_change(ctx, USB_PORT_STAT_C_ENABLE);
	case USB_PORT_FEAT_C_SUSPEND:
		return clear_change(ctx, USB_PORT_STAT_C_SUSPEND);
	case USB_PORT_FEAT_INDICATOR:
		return 0;
	default:
		return -EPIPE;
	}
}

static int clear_usb3_feature(struct hub_ctx *ctx)
{
	switch (ctx->value) {
	case USB_PORT_FEAT_C_BH_PORT_RESET:
		return clear_change(ctx, USB_PORT_STAT_C_BH_RESET);
	case USB_PORT_FEAT_C_PORT_LINK_STATE:
		return clear_change(ctx, USB_PORT_STAT_C_LINK_STATE);
	case USB_PORT_FEAT_C_PORT_CONFIG_ERROR:
		return clear_change(ctx, USB_PORT_STAT_C_CONFIG_ERROR);
	default:
		return -EPIPE;
	}
}

static int clear_port_feature(struct hub_ctx *ctx)
{
	switch (ctx->value) {
	case USB_PORT_FEAT_POWER:
		power(ctx, false);
		return 0;
	case USB_PORT_FEAT_C_CONNECTION:
		return clear_connection(ctx);
	case USB_PORT_FEAT_C_RESET:
		return clear_change(ctx, USB_PORT_STAT_C_RESET);
	case USB_PORT_FEAT_C_OVER_CURRENT:
		return clear_change(ctx, USB_PORT_STAT_C_OVERCURRENT);
	default:
		return ctx->side == USBFRONT_USB3 ? clear_usb3_feature(ctx) :
						    clear_usb2_feature(ctx);
	}
}

static int set_usb2_feature(struct hub_ctx *ctx)
{
	switch (ctx->value) {
	case USB_PORT_FEAT_SUSPEND:
		ctx->suspends = ctx->hp->state == USBFRONT_HUB_ENABLED;
		return 0;
	case USB_PORT_FEAT_INDICATOR:
		return 0;
	default:
		return -EPIPE;
	}
}

/* Selector: USB 3.2, table 10-4. States that a host only reads stall. */
static int set_link_state(struct hub_ctx *ctx)
{
	struct usbfront_hport *hp = ctx->hp;
	u16 link = ctx->selector << 5;

	switch (link) {
	case USB_SS_PORT_LS_U0:
		if (hp->state == USBFRONT_HUB_SUSPENDED) {
			usbfront_hport_set(ctx->port, ctx->side,
					   USBFRONT_HUB_ENABLED,
					   USB_PORT_STAT_C_LINK_STATE);
			usbfront_port_wake(ctx->port);
		}
		hp->link = link;
		return 0;
	case USB_SS_PORT_LS_U1:
	case USB_SS_PORT_LS_U2:
		if (hp->state == USBFRONT_HUB_ENABLED)
			hp->link = link;
		return 0;
	case USB_SS_PORT_LS_U3:
		ctx->suspends = true;
		return 0;
	default:
		return -EPIPE;
	}
}

static int set_usb3_feature(struct hub_ctx *ctx)
{
	switch (ctx->value) {
	case USB_PORT_FEAT_BH_PORT_RESET:
		usbfront_port_reset(ctx->port, ctx->side);
		ctx->hp->change |= USB_PORT_STAT_C_BH_RESET;
		return 0;
	case USB_PORT_FEAT_LINK_STATE:
		return set_link_state(ctx);
	case USB_PORT_FEAT_U1_TIMEOUT:
	case USB_PORT_FEAT_U2_TIMEOUT:
	case USB_PORT_FEAT_REMOTE_WAKE_MASK:
	case USB_PORT_FEAT_FORCE_LINKPM_ACCEPT:
		return 0;
	default:
		return -EPIPE;
	}
}

static int set_port_feature(struct hub_ctx *ctx)
{
	switch (ctx->value) {
	case USB_PORT_FEAT_POWER:
		power(ctx, true);
		return 0;
	case USB_PORT_FEAT_RESET:
		usbfront_port_reset(ctx->port, ctx->side);
		return 0;
	default:
		return ctx->side == USBFRONT_USB3 ? set_usb3_feature(ctx) :
						    set_usb2_feature(ctx);
	}
}

/* ---- entry points ---- */

static int hub_request(struct hub_ctx *ctx, u16 type_req)
{
	switch (type_req) {
	case GetHubDescriptor:
		return get_hub_descriptor(ctx);
	case DeviceRequest | USB_REQ_GET_DESCRIPTOR:
		return get_descriptor(ctx);
	case GetHubStatus:
		memset(ctx->buf, 0, 4);
		return 0;
	case ClearHubFeature:
		return ctx->value > C_HUB_OVER_CURRENT ? -EPIPE : 0;
	case SetHubDepth:
		return ctx->side == USBFRONT_USB3 ? 0 : -EPIPE;
	default:
		return -EPIPE;
	}
}

static int port_request(struct hub_ctx *ctx, u16 type_req)
{
	switch (type_req) {
	case GetPortStatus:
		return get_port_status(ctx);
	case ClearPortFeature:
		return clear_port_feature(ctx);
	case SetPortFeature:
		return set_port_feature(ctx);
	case GetPortErrorCount:
		if (ctx->side != USBFRONT_USB3)
			return -EPIPE;
		memset(ctx->buf, 0, 4);
		return 0;
	default:
		return -EPIPE;
	}
}

/**
 * usbfront_hub_control - hc_driver.hub_control
 * @hcd: root hub
 * @type_req: bmRequestType and bRequest
 * @value: wValue
 * @index: wIndex: port, and a selector in the high octet
 * @buf: at least a hub descriptor long
 * @length: wLength
 *
 * Return: 0, octets of a descriptor, or -EPIPE.
 */
int usbfront_hub_control(struct usb_hcd *hcd, u16 type_req, u16 value,
			 u16 index, char *buf, u16 length)
{
	struct usbfront_hcd *priv = usbfront_hcd_priv(hcd);
	struct hub_ctx ctx = {
		.uf = priv->vusb->uf,
		.side = priv->side,
		.value = value,
		.selector = index >> 8,
		.length = length,
		.buf = buf,
	};
	unsigned int port = index & 0xff;
	int ret;

	if ((type_req >> 8 & USB_RECIP_MASK) != USB_RECIP_OTHER)
		return hub_request(&ctx, type_req);
	if (!port || port > USBIF_MAX_PORTS)
		return -EPIPE;
	port = array_index_nospec(port - 1, USBIF_MAX_PORTS);
	ctx.port = &priv->vusb->port[port];
	ctx.hp = &ctx.port->hport[ctx.side];

	spin_lock_irq(&ctx.uf->lock);
	ret = port_request(&ctx, type_req);
	spin_unlock_irq(&ctx.uf->lock);
	return ctx.suspends ? usbfront_port_suspend(ctx.port, ctx.side) : ret;
}

/**
 * usbfront_hub_status_data - hc_driver.hub_status_data
 * @hcd: root hub
 * @buf: bitmap to fill: bit n is port n
 *
 * Return: octets, 0 if nothing has changed.
 */
int usbfront_hub_status_data(struct usb_hcd *hcd, char *buf)
{
	struct usbfront_hcd *priv = usbfront_hcd_priv(hcd);
	struct usbfront *uf = priv->vusb->uf;
	unsigned long flags;
	u32 changed = 0;
	int i;

	if (!HCD_HW_ACCESSIBLE(hcd))
		return 0;
	spin_lock_irqsave(&uf->lock, flags);
	for (i = 0; i < USBIF_MAX_PORTS; i++)
		if (priv->vusb->port[i].hport[priv->side].change)
			changed |= BIT(i + 1);
	spin_unlock_irqrestore(&uf->lock, flags);
	if (!changed) {
		clear_bit(HCD_FLAG_POLL_RH, &hcd->flags);
		return 0;
	}
	/* The hub driver forgets a change that it has no memory to look at. */
	set_bit(HCD_FLAG_POLL_RH, &hcd->flags);
	buf[0] = changed;
	buf[1] = changed >> 8;
	return 2;
}
