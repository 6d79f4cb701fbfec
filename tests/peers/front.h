/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A frontend in user space, over a channel of kind fd or ivshmem: what a guest's
 * driver does, in as few words as possible. Single-threaded; everything that fails
 * ends the program with a message.
 */
#ifndef TESTS_PEERS_FRONT_H
#define TESTS_PEERS_FRONT_H

#include <stdbool.h>
#include <stdnoreturn.h>
#include "ivshmem.h"
#include "proto.h"
#include "ring.h"
#include "usbif.h"

struct front {
	const char *name;
	int memfd;
	int in;			/* they ring us */
	int out;		/* we ring them */
	struct ivshmem iv;	/* what rings them over ivshmem */
	void *region;
	u64 size;
	struct usbif_layout lay;
	struct usbif_back_page *back;
	struct usbif_front_page *page;
	struct usbif_port (*ports)[USBIF_MAX_PORTS + 1];
	struct usbif_prod sq;
	struct usbif_cons cq;
	u32 nonce;
	u32 session;
	u64 features;		/* that it accepts */
	bool quiet_bell;	/* don't ring: the other side must find out */
	struct usbif_response stash[2 * USBIF_MAX_REQUESTS];
	unsigned int stashed;
};

noreturn void die(const char *fmt, ...);
u64 now_ms(void);

/* Makes region, doorbells and, in usbback, the channel. */
void front_open(struct front *f, const char *name, u64 size);
/*
 * The same for the ivshmem device with this directory in sysfs. It has no interrupt
 * here, so that it looks every millisecond.
 */
void front_open_pci(struct front *f, const char *dir);
/* Tells usbback to end the channel. */
void front_drop(const char *name);
/* The same when the program ends, however it does. */
void front_drop_at_exit(const struct front *f);
/* Tells it that the guest is dead. */
void front_gone(const char *name);
/* Waits until the backend's page is good, asks for a session and runs it. */
void front_connect(struct front *f);
/* Its parts, without a look at the layout: another nonce; then the session for it. */
void front_ask(struct front *f);
void front_take_up(struct front *f);
/* Asks for the session to end and waits until it has. */
void front_close(struct front *f);
/* Waits for the state of the backend. */
void front_wait_state(struct front *f, u32 state, int timeout_ms);
/* The state of a port; false if it is being written just now. */
bool front_port(struct front *f, unsigned int vusb, unsigned int port,
		struct usbif_port_state *st);
/* Waits until a port is connected (or not) and returns its state. */
struct usbif_port_state front_wait_port(struct front *f, unsigned int vusb,
					unsigned int port, bool connected,
					int timeout_ms);

void front_kick(struct front *f);
/* Waits for the doorbell, at most @timeout_ms. */
void front_sleep(struct front *f, int timeout_ms);
/* Puts a request into the ring as it stands and rings. */
void front_submit_wire(struct front *f, const struct usbif_req *wire);
void front_submit(struct front *f, const struct usbif_request *req);
/* The completion of request @id, false if it does not come in time. */
bool front_wait(struct front *f, u32 id, struct usbif_response *rsp,
		int timeout_ms);
/* The next completion of any request. */
bool front_next(struct front *f, struct usbif_response *rsp, int timeout_ms);
/* Submits and waits; dies if nothing comes in 10 s. */
struct usbif_response front_call(struct front *f, const struct usbif_request *req);

void *front_block(struct front *f, u32 block);

/* A device behind a port. */
struct front_dev {
	struct front *f;
	u8 vusb;
	u8 port;
	u32 epoch;
	u8 bulk_in;
	u8 bulk_out;
	u32 tag;
	u8 descriptor[18];
	u8 config[512];
	u32 config_len;
};

struct usbif_request front_req(const struct front_dev *dev, u32 id, u8 op);
struct usbif_request front_control(const struct front_dev *dev, u32 id,
				   u8 request_type, u8 request, u16 value,
				   u16 index, u16 length, u32 block);
struct usbif_request front_bulk(const struct front_dev *dev, u32 id, u8 endpoint,
				u32 length, u32 block);
/* What a guest does first with a device: only then it may talk to it. */
void front_reset(struct front_dev *dev);
/* Resets, reads descriptors and sets the first configuration. */
void front_enumerate(struct front_dev *dev, struct front *f, u8 vusb, u8 port);
/* A SCSI command that reads @len octets to @block; true if it went well. */
bool front_scsi_read(struct front_dev *dev, const u8 *cdb, u8 cdb_len, u32 len,
		     u32 block);
/* READ(10) of @count sectors of 512 to @block. */
void front_read_sectors(struct front_dev *dev, u32 lba, u16 count, u32 block);

#endif /* TESTS_PEERS_FRONT_H */
