// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/usbback/NAME/: what a channel has in private beside what
 * stands in shared memory, ports, counters. For tests, ring_start, from which the
 * indices of the next session run, copy_all, which treats the region as if it had no
 * pages to give to a host controller, and no_memory, which leaves nothing but the
 * reserve for copies and lists.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include "backend.h"

static struct dentry *root;

static void show_words(struct seq_file *m, struct usbback *ub)
{
	struct usbif_front_page __usbif *front = ub->front;
	struct usbif_back_page __usbif *back = ub->back;

	seq_printf(m, "back: state %u session %u error %u sq_cons %u sq_event %u cq_prod %u port_gen %u heartbeat %u\n",
		   usbif_word_read(&back->state), usbif_word_read(&back->session),
		   usbif_word_read(&back->error), usbif_word_read(&back->sq_cons),
		   usbif_word_read(&back->sq_event),
		   usbif_word_read(&back->cq_prod),
		   usbif_word_read(&back->port_gen),
		   usbif_word_read(&back->heartbeat));
	seq_printf(m, "front: state %u session %u error %u sq_prod %u cq_cons %u cq_event %u port_seen %u heartbeat %u\n",
		   usbif_word_read(&front->state),
		   usbif_word_read(&front->session),
		   usbif_word_read(&front->error),
		   usbif_word_read(&front->sq_prod),
		   usbif_word_read(&front->cq_cons),
		   usbif_word_read(&front->cq_event),
		   usbif_word_read(&front->port_seen),
		   usbif_word_read(&front->heartbeat));
}

static unsigned int count(const struct list_head *list)
{
	const struct list_head *pos;
	unsigned int n = 0;

	list_for_each(pos, list)
		n++;
	return n;
}

static unsigned int count_operations(const struct usbback *ub)
{
	unsigned int vusb, nr, n = 0;

	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (nr = 1; nr <= USBIF_MAX_PORTS; nr++)
			if (ub->ports[vusb][nr])
				n += count(&ub->ports[vusb][nr]->ops);
	return n;
}

static void show_private(struct seq_file *m, struct usbback *ub)
{
	seq_printf(m, "session %u ring_start %u nonce %#x front_nonce %#x\n",
		   ub->session, ub->ring_start, ub->nonce, ub->front_nonce);
	seq_printf(m, "sq: cons %u prod %u\n", ub->sq.cons, ub->sq.prod);
	seq_printf(m, "cq: prod %u published %u cons %u\n", ub->cq.prod,
		   ub->cq.published, ub->cq.cons);
	seq_printf(m, "live %u inflight %u cached_pages %u poll_ns %llu\n",
		   ub->live, ub->inflight, ub->cached_pages, ub->poll_ns);
	seq_printf(m, "operations %u\n", count_operations(ub));
}

static void show_stats(struct seq_file *m, struct usbback *ub)
{
	const struct usbback_stats *st = &ub->stats;
	unsigned int why;

	seq_printf(m, "doorbells_in %ld\ndoorbells_out %ld\n",
		   atomic_long_read(&ub->chan->events),
		   atomic_long_read(&ub->chan->kicks));
	seq_printf(m, "wakeups %llu\nempty_wakeups %llu\npaced %llu\nlimited %llu\npoll_hits %llu\npoll_misses %llu\n",
		   st->wakeups, st->empty_wakeups, st->paced, st->limited, st->poll_hits,
		   st->poll_misses);
	seq_printf(m, "sessions %llu\nviolations %llu\nstalls %llu\nretries %llu\nrerings %llu\ntakebacks %llu\n",
		   st->sessions, st->violations, st->stalls, st->retries,
		   st->rerings, st->takebacks);
	for (why = 0; why < USBIF_WHY_MAX; why++)
		if (st->refused[why])
			seq_printf(m, "refused_%s %llu\n", usbif_why_name(why),
				   st->refused[why]);
}

static void show_endpoints(struct seq_file *m, const struct usbback_port *port)
{
	unsigned int i;

	for (i = 0; i < USBBACK_EPS; i++) {
		const struct usbback_ep *ep = &port->eps[i];

		if (list_empty(&ep->active) && list_empty(&ep->parked) &&
		    !ep->held)
			continue;
		seq_printf(m, "  ep %02x: active %u parked %u kills %u%s\n",
			   (i & 15) | (i & 16 ? USB_DIR_IN : 0),
			   count(&ep->active), count(&ep->parked),
			   ep->kills, ep->held ? " held" : "");
	}
}

static void show_port(struct seq_file *m, const struct usbback_port *port)
{
	const struct usbback_port_stats *st = &port->stats;

	seq_printf(m, "port %u:%u %s %s epoch %u gate %#x%s%s%s%s\n", port->vusb,
		   port->nr, usbback_phase_name(port->phase),
		   port->bdev ? usbback_dev_busid(port->bdev) : "-", port->epoch,
		   port->gate, port->configured ? " configured" : "",
		   port->pristine ? " pristine" : "",
		   port->asleep ? " asleep" : "",
		   port->frozen ? " frozen" : "");
	seq_printf(m, "  submitted %llu completed %llu errors %llu cancelled %llu in %llu out %llu direct %llu bounced %llu resets %llu suspends %llu wakeups %llu inflight %u peak %u\n",
		   st->submitted, st->completed, st->errors, st->cancelled,
		   st->bytes_in, st->bytes_out, st->direct, st->bounced,
		   st->resets, st->suspends, st->wakeups, st->inflight, st->peak);
	if (port->phase == PORT_UP && !port->asleep && !port->frozen)
		seq_printf(m, "  frame %d\n",
			   usb_get_current_frame_number(port->udev));
	show_endpoints(m, port);
}

static int channel_show(struct seq_file *m, void *data)
{
	struct usbback *ub = m->private;
	unsigned int vusb, nr;

	seq_printf(m, "name %s kind %s region %llu requests %u pool %llu\n",
		   ub->name[0] ? ub->name : "-", ub->chan->ops->kind,
		   ub->lay.region_size, ub->lay.nr_requests, ub->lay.pool_size);
	spin_lock_irq(&ub->lock);
	seq_printf(m, "state %s\n", usbback_state_name(ub->state));
	show_private(m, ub);
	show_words(m, ub);
	show_stats(m, ub);
	for (vusb = 0; vusb < USBIF_MAX_VUSB; vusb++)
		for (nr = 1; nr <= USBIF_MAX_PORTS; nr++)
			if (ub->ports[vusb][nr])
				show_port(m, ub->ports[vusb][nr]);
	spin_unlock_irq(&ub->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(channel);

void usbback_debugfs_add(struct usbback *ub)
{
	ub->debugfs = debugfs_create_dir(ub->name[0] ? ub->name :
					 dev_name(ub->chan->dev), root);
	debugfs_create_file("channel", 0400, ub->debugfs, ub, &channel_fops);
	debugfs_create_u32("ring_start", 0600, ub->debugfs, &ub->ring_start);
	debugfs_create_bool("copy_all", 0600, ub->debugfs, &ub->copy_all);
	debugfs_create_bool("no_memory", 0600, ub->debugfs, &ub->no_memory);
}

void usbback_debugfs_remove(struct usbback *ub)
{
	debugfs_remove(ub->debugfs);
	ub->debugfs = NULL;
}

void usbback_debugfs_init(void)
{
	root = debugfs_create_dir("usbback", NULL);
}

void usbback_debugfs_exit(void)
{
	debugfs_remove(root);
}
