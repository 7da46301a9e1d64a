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
	LB_BACKEND_DEAD = 4,     /* as down; and its connections cannot be alive: their clients get a reset */
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
	u8 pad;
	__be32 acked; /* the client's latest acknowledgement: where a reset must stand to be believed (RFC 5961) */
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

/* Tokens of one CPU: what a flood must not have more of. Row 0 of lb_budgets is for what we generate, the others are by
 * service id for connections picked up in mid-stream. */
struct budget {
	u32 tokens;
	u32 refilled; /* jiffies, low 32 bits */
};

struct globals {
	u64 seed;       /* of the flow hash: a secret, so that nobody can aim at a slot or at a half-open entry */
	u64 generation; /* of the last complete write by the daemon */
	u32 hz;         /* jiffies a second, measured by the daemon; 0: not yet */
	u32 pad;
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
	LB_OVER_BUDGET = 8, /* chosen by hash and not entered: too many in mid-stream at once */
	LB_UDP_ESTABLISHED = 9,
	LB_UDP_NEW = 10,
	LB_FRAGMENT = 11,   /* went after its first fragment */
	LB_ICMP_ERROR = 12, /* went to the backend whose packet it quotes */
	LB_ARP_REPLY = 13,
	LB_PING_REPLY = 14,
	LB_WRONG_PORT = 15, /* a VIP, but no service on this port: refused by TCP RST or ICMP port unreachable */
	LB_RESET = 16, /* of a connection whose backend is dead: answered by a TCP RST */
	/* dropped */
	LB_NO_SERVICE = 17,    /* as wrong_port, but too many at once; or another protocol than TCP, UDP, ICMP */
	LB_NO_BACKEND = 18,    /* the pool has nobody who takes new connections */
	LB_DEAD = 19, /* as reset, but too many at once */
	LB_UNRESOLVED = 20,    /* the backend's MAC was never confirmed */
	LB_LOOP_OWN = 21,      /* our own frame or probe came back */
	LB_LOOP_BACKEND = 22,  /* the chosen backend sent the packet back: the VIP is not on its loopback */
	LB_LOST_FRAGMENT = 23, /* its first fragment did not come by, or too long ago */
	LB_MALFORMED = 24,
	LB_ICMP_UNKNOWN = 25, /* an ICMP message that is no ping and quotes no connection of ours */
	LB_REASONS = 26,
	LB_ADMITTED = LB_REASONS, /* not a way to leave: go on */
};

#define LB_FIRST_TX LB_ESTABLISHED
#define LB_FIRST_DROP LB_NO_SERVICE

#define LB_INTERFACES 256    /* power of two: rows of lb_interfaces */
#define LB_SERVICES 32768    /* power of two: rows of lb_services */
#define LB_SERVICE_PROBES 8  /* a service stands in one of this many rows from its hash on */
#define LB_HALF_OPENS 65536  /* power of two: rows of lb_half_opens */
#define LB_FRAGMENTS 16384   /* power of two: rows of lb_fragments */
#define LB_FILTER_WORDS 1024 /* power of two: 64-bit words of lb_vip_filter */

_Static_assert(sizeof(struct backend) == 24, "struct backend");
_Static_assert(sizeof(struct pool) == 16, "struct pool");
_Static_assert(sizeof(struct service) == 16, "struct service");
_Static_assert(sizeof(struct interface) == 16, "struct interface");
_Static_assert(sizeof(struct flow_key4) == 16, "struct flow_key4");
_Static_assert(sizeof(struct flow) == 16, "struct flow");
_Static_assert(sizeof(struct globals) == 24, "struct globals");
_Static_assert(sizeof(struct budget) == 8, "struct budget");
_Static_assert(sizeof(struct service_stats) == 24, "struct service_stats");
_Static_assert(sizeof(struct backend_stats) == 32, "struct backend_stats");

#endif
