/* SPDX-License-Identifier: GPL-2.0-or-later */
/* types.h: every layout and number shared with user space. This file is the authority; lbctl/dataplane/layout.py is its
 * one mirror, and the build refuses to start when the two differ in a field's name, offset or size. */
#ifndef LB_TYPES_H
#define LB_TYPES_H

/* A backend as slots, half-open entries and flows name it: id in the low 16 bits, generation in the high 16. An id is
 * reused after a removal, its generation is not: a reference whose generation is old is a miss, never another server.
 * Id 0 is nobody. */
typedef u32 backend_ref;

enum lb_backend_state {
	LB_BACKEND_ABSENT = 0,   /* the row is free */
	LB_BACKEND_UP = 1,       /* takes new connections */
	LB_BACKEND_DRAINING = 2, /* keeps its connections, takes no new ones */
	LB_BACKEND_DOWN = 3,     /* as draining; and a client that connects anew from the same port chooses again */
};

/* One real server. `link` is one word, so that a MAC and its generation change in one store: the MAC's six bytes as they
 * stand in a frame, then the generation. A MAC of zero was never confirmed, and nothing is sent there. */
struct backend {
	u64 link;
	__be32 address;
	u8 state; /* enum lb_backend_state */
	u8 pad[3];
	u64 identity; /* hash of the stable name: what a restarted daemon recognises the row by */
};

/* Where a pool's slots lie in lb_slots: base in the low 32 bits, count in the high, switched in one store. */
struct pool {
	u64 table;
	u64 identity;
};

/* One (VIP, port, protocol) and the pool that answers. The key is one word as it lies in memory: VIP, port, protocol, 0. */
struct service {
	u64 key;  /* 0: the row is free */
	u16 id;   /* index of its counters; 0 is never used */
	u16 pool; /* index into lb_pools */
	u32 pad;
};

/* A virtual address, answered for by ARP and ping on one interface only. */
struct vip {
	u32 ifindex;
};

/* An interface of ours, found at (ifindex mod LB_INTERFACES). */
struct interface {
	u64 mac; /* six bytes as they stand in a frame, then zeros */
	u32 ifindex;
	__be32 address; /* the director's own: a probe of ours that comes back is known by it */
};

struct flow_key4 {
	__be32 client;
	__be32 vip;
	__be16 client_port;
	__be16 vip_port;
	u32 pad;
};

enum lb_flow_state {
	LB_FLOW_OPEN = 0,
	LB_FLOW_CLOSING = 1, /* the client sent FIN */
	LB_FLOW_RESET = 2,   /* the client sent RST */
};

struct flow {
	backend_ref backend;
	u32 last_seen; /* jiffies, low 32 bits: compare as signed differences */
	u16 service;
	u8 state; /* enum lb_flow_state */
	u8 pad[5];
};

/* Bytes are those of the IP datagram, as its total length says. */
struct counter {
	u64 packets;
	u64 bytes;
};

struct service_stats {
	u64 packets;
	u64 bytes;
	u64 connections;
};

struct backend_stats {
	u64 packets;
	u64 bytes;
	u64 connections;
	u64 returned; /* packets that the backend sent back to us instead of accepting them */
};

struct globals {
	u64 seed;       /* of the flow hash: a secret, so that nobody can aim at a slot or at a half-open entry */
	u64 generation; /* of the last complete write by the daemon */
};

/* One value for each way a packet can leave. Their names, in lower case without the prefix, are the names in
 * `lbctl status`. The order carries the verdict: see verdict_of() in stats.h. */
enum lb_reason {
	/* passed to the kernel, unaltered */
	LB_NOT_VIP = 0,
	LB_OTHER_MAC = 1, /* for a VIP, but addressed to another station: flooded by a switch */
	/* sent out of the interface it came in by */
	LB_ESTABLISHED = 2,
	LB_FIRST_ACK = 3,   /* completes a handshake: the flow is entered */
	LB_SYN = 4,         /* a new connection, not yet a flow */
	LB_REUSED_PORT = 5, /* a new connection from the ports of an earlier one */
	LB_PICKED_UP = 6,   /* in mid-stream without a flow: chosen by hash and entered */
	LB_UNTRACKED = 7,   /* chosen by hash and not entered: flow table full, or a last packet */
	LB_UDP_ESTABLISHED = 8,
	LB_UDP_NEW = 9,
	LB_ARP_REPLY = 10,
	LB_PING_REPLY = 11,
	/* dropped */
	LB_NO_SERVICE = 12,   /* a VIP, but no service on this port */
	LB_NO_BACKEND = 13,   /* the pool has nobody who takes new connections */
	LB_UNRESOLVED = 14,   /* the backend's MAC was never confirmed */
	LB_LOOP_OWN = 15,     /* our own frame or probe came back */
	LB_LOOP_BACKEND = 16, /* the chosen backend sent the packet back: the VIP is not on its loopback */
	LB_FRAGMENT = 17,
	LB_MALFORMED = 18,
	LB_ICMP_OTHER = 19,
	LB_REASONS = 20,
	LB_ADMITTED = LB_REASONS, /* not a way to leave: go on */
};

#define LB_FIRST_TX LB_ESTABLISHED
#define LB_FIRST_DROP LB_NO_SERVICE

#define LB_INTERFACES 256    /* power of two: rows of lb_interfaces */
#define LB_SERVICES 32768    /* power of two: rows of lb_services */
#define LB_SERVICE_PROBES 8  /* a service stands in one of this many rows from its hash on */
#define LB_HALF_OPENS 65536  /* power of two: rows of lb_half_opens */
#define LB_FILTER_WORDS 1024 /* power of two: 64-bit words of lb_vip_filter */

_Static_assert(sizeof(struct backend) == 24, "struct backend");
_Static_assert(sizeof(struct pool) == 16, "struct pool");
_Static_assert(sizeof(struct service) == 16, "struct service");
_Static_assert(sizeof(struct interface) == 16, "struct interface");
_Static_assert(sizeof(struct flow_key4) == 16, "struct flow_key4");
_Static_assert(sizeof(struct flow) == 16, "struct flow");
_Static_assert(sizeof(struct service_stats) == 24, "struct service_stats");
_Static_assert(sizeof(struct backend_stats) == 32, "struct backend_stats");

#endif
