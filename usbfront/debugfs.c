// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs/usbfront/NAME: a channel as it is, what we believe beside what the region says.
 * Words of the region are shown, never used.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include "iso.h"

static struct dentry *usbfront_dir;

#define STAT(name) { #name, offsetof(struct usbfront_stats, name) }

static const struct {
	const char *name;
	size_t offset;
} stat_table[] = {
	STAT(submitted), STAT(completed), STAT(errors), STAT(unlinked),
	STAT(refused), STAT(in_octets), STAT(out_octets), STAT(requests),
	STAT(cancels), STAT(lost), STAT(late), STAT(waits), STAT(copies_in),
	STAT(copies_out), STAT(kicks), STAT(rerings), STAT(wakeups),
	STAT(polls), STAT(poll_hits), STAT(paced), STAT(sessions), STAT(broken),
	STAT(wakeups_remote), STAT(sleepless),
};

static void show_session(struct seq_file *m, struct usbfront *uf)
{
	seq_printf(m, "channel %d kind %s size %llu\n", uf->index,
		   uf->chan->ops->kind, uf->chan->size);
	seq_printf(m, "state %s session %u nonce %08x backend %08x error %u\n",
		   usbfront_state_name(uf->state), uf->session, uf->nonce,
		   uf->back_nonce, uf->error);
	seq_printf(m, "region: back state %u session %u nonce %08x error %u heartbeat %u\n",
		   usbif_word_read(&uf->back->state),
		   usbif_word_read(&uf->back->session),
		   usbif_word_read(&uf->back->nonce),
		   usbif_word_read(&uf->back->error),
		   usbif_word_read(&uf->back->heartbeat));
	seq_printf(m, "region: front state %u session %u nonce %08x error %u heartbeat %u\n",
		   usbif_word_read(&uf->front->state),
		   usbif_word_read(&uf->front->session),
		   usbif_word_read(&uf->front->nonce),
		   usbif_word_read(&uf->front->error),
		   usbif_word_read(&uf->front->heartbeat));
}

static void show_rings(struct seq_file *m, struct usbfront *uf)
{
	seq_printf(m, "sq: prod %u published %u cons %u | region: prod %u cons %u event %u\n",
		   uf->sq.prod, uf->sq.published, uf->sq.cons,
		   usbif_word_read(&uf->front->sq_prod),
		   usbif_word_read(&uf->back->sq_cons),
		   usbif_word_read(&uf->back->sq_event));
	seq_printf(m, "cq: cons %u prod %u | region: cons %u prod %u event %u\n",
		   uf->cq.cons, uf->cq.prod,
		   usbif_word_read(&uf->front->cq_cons),
		   usbif_word_read(&uf->back->cq_prod),
		   usbif_word_read(&uf->front->cq_event));
	seq_printf(m, "ports: seen %u | region: gen %u seen %u\n", uf->port_seen,
		   usbif_word_read(&uf->back->port_gen),
		   usbif_word_read(&uf->front->port_seen));
	seq_printf(m, "requests: all %u free %u live %u peak %u lost %u copying %u\n",
		   uf->lay.nr_requests, uf->nr_free, uf->nr_live,
		   uf->stats.peak, uf->nr_lost, uf->nr_filling);
	seq_printf(m, "pool: blocks %u free %u\n", uf->pool.blocks,
		   uf->pool.free);
}

static void show_port(struct seq_file *m, const struct usbfront_port *port)
{
	int i;

	seq_printf(m, "port %u.%u: wire %s speed %u epoch %u reason %u | shown epoch %u speed %u usb2 %s usb3 %s ids %u blocks %u%s%s%s\n",
		   port->vusb->number, port->number,
		   port->wire.status ? "connected" : "empty", port->wire.speed,
		   port->wire.epoch, port->wire.reason, port->epoch,
		   port->speed,
		   usbfront_hub_state_name(port->hport[USBFRONT_USB2].state),
		   usbfront_hub_state_name(port->hport[USBFRONT_USB3].state),
		   port->nr_ids, port->nr_blocks,
		   port->is_clean ? " clean" : "",
		   port->is_asleep ? " asleep" : "",
		   port->may_wake ? " wakeup" : "");
	for (i = 0; i < USBFRONT_NR_EPS; i++) {
		const struct usbfront_ep *uep = &port->ep[i];

		if (uep->nr_live || uep->is_held || usbfront_ep_has_more(uep))
			seq_printf(m, "  endpoint %02x: live %u%s%s%s\n",
				   uep->address, uep->nr_live,
				   usbfront_ep_has_more(uep) ? " queued" : "",
				   uep->is_waiting ? " waiting" : "",
				   uep->is_held ? " held" : "");
	}
}

static void show_clock(struct seq_file *m, const struct usbfront_vusb *vusb)
{
	seq_printf(m, "vusb %u: frame %u%s\n", vusb->number,
		   usbfront_frame_now(&vusb->clock),
		   vusb->clock.is_known ? " of the host" : "");
}

static bool is_boring(const struct usbfront_port *port)
{
	return !port->wire.status && !port->epoch && !port->nr_ids &&
	       !port->wire.reason;
}

static int usbfront_show(struct seq_file *m, void *unused)
{
	struct usbfront *uf = m->private;
	unsigned int i, p;

	spin_lock_irq(&uf->lock);
	show_session(m, uf);
	if (uf->has_tables)
		show_rings(m, uf);
	for (i = 0; i < USBIF_MAX_VUSB; i++)
		for (p = 0; uf->vusb[i] && p < USBIF_MAX_PORTS; p++)
			if (!is_boring(&uf->vusb[i]->port[p]))
				show_port(m, &uf->vusb[i]->port[p]);
	for (i = 0; i < ARRAY_SIZE(stat_table); i++)
		seq_printf(m, "%s %llu\n", stat_table[i].name,
			   *(u64 *)((void *)&uf->stats + stat_table[i].offset));
	for (i = 0; i < USBIF_MAX_VUSB; i++)
		if (uf->vusb[i])
			show_clock(m, uf->vusb[i]);
	spin_unlock_irq(&uf->lock);
	seq_printf(m, "doorbells_out %ld\ndoorbells_in %ld\n",
		   atomic_long_read(&uf->chan->kicks),
		   atomic_long_read(&uf->chan->events));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(usbfront);

/**
 * usbfront_debugfs_init - make the directory
 */
void usbfront_debugfs_init(void)
{
	usbfront_dir = debugfs_create_dir(USBFRONT_NAME, NULL);
}

/**
 * usbfront_debugfs_exit - remove it
 */
void usbfront_debugfs_exit(void)
{
	debugfs_remove(usbfront_dir);
}

/**
 * usbfront_debugfs_add - show a channel
 * @uf: channel
 */
void usbfront_debugfs_add(struct usbfront *uf)
{
	uf->debugfs = debugfs_create_file(uf->name, 0400, usbfront_dir, uf,
					  &usbfront_fops);
}

/**
 * usbfront_debugfs_del - show it no longer; waits for readers
 * @uf: channel
 */
void usbfront_debugfs_del(struct usbfront *uf)
{
	debugfs_remove(uf->debugfs);
}
