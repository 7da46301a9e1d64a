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
	LB_BACKEND_HALTED = 5,   /* as dead, but the server lives: what ends a connection is passed on to it */
};

/* One real server. `link` is one word, so that a MAC and its generation change in one store: the MAC's six bytes as they
 * stand in a frame, then the generation. A MAC of zero was never confirmed, and nothing is sent there. */
struct backend {
	u64 link;
	__be32 address;
	u8 state; /* enum lb_backend_state */
	u8 is_limited; /* its row in lb_connections says to how many */
	u8 pad[2];
	u64 identity; /* hash of the stable name: what a restarted daemon recognises the row by */
};

/* How many TCP connections a backend has, and may have. Those on their way, between SYN and first ACK, are kept by the parity
 * of the tick they began in: the tick in the high 32 bits, their number in the low. Older ones have expired. */
struct connections {
	u64 opened; /* flows entered less flows ended; a row that is given to another server goes on */
	u64 pending[2];
	u32 corrected; /* by the daemon: to be taken off `opened`, for flows that ended without a packet */
	u32 limit;
	u32 resume; /* once full, it takes new ones again from here down */
	u32 is_full;
};

/* Where a pool's slots lie in lb_slots: base in the low 32 bits, count in the high, switched in one store. They are the
 * fallback's while nobody of its own takes new connections. */
struct pool {
	u64 table;
	u64 identity;
	u32 members; /* rows of lb_members: its own in the low half, behind them those of its fallback in the high */
	u8 on_empty;   /* enum lb_on_empty */
	u8 is_private; /* a source keeps to the backend that it was assigned */
	u16 pad;
};

/* Who of the backends looked at can take one more TCP connection best. `room` is 2 where there is a place, 1 where there is one
 * but for reservations, which may be a flood's. */
struct candidate {
	backend_ref ref;
	u32 room;
};

enum lb_on_empty {
	LB_ON_EMPTY_RESET = 0,
	LB_ON_EMPTY_DROP = 1,
};

/* In lb_assignments: the holder is gone, and nobody else may take its place. */
#define LB_NOBODY_ELSE 0xffffffffU

/* A source of a pool with private storage, and who holds what it sends. */
struct assignment_key {
	__be32 client;
	u32 pool;
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
	u8 is_unproven; /* one packet was seen, and it may be spoofed */
	__be32 acked; /* the client's latest acknowledgement: where a reset to it must stand to be believed (RFC 5961) */
	u32 next;     /* what the client sends next, in host order: where a reset to the server must stand */
	u32 spare;
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

/* What tokens are for. A row of lb_budgets is (service id * LB_PURPOSES + purpose); service 0 is the director itself. */
enum lb_purpose {
	LB_REFUSALS = 0, /* of the director: answers for ports without service, and for pools without backends */
	LB_RESETS = 1,   /* of the director: resets in the name of backends that are dead or halted */
	LB_PICK_UPS = 0, /* of a service: connections in mid-stream, entered as flows */
	LB_HANDSHAKES = 1, /* of a service: completed handshakes, entered as flows */
	LB_PURPOSES = 2,
};

/* Tokens of one CPU: what a flood must not have more of. */
struct budget {
	u32 tokens;
	u32 refilled; /* jiffies, low 32 bits */
};

struct globals {
	u64 seed;       /* of the flow hash: a secret, so that nobody can aim at a slot or at a half-open entry */
	u64 generation; /* of the last complete write by the daemon */
	u32 hz;         /* jiffies a second, measured by the daemon; 0: not yet */
	u32 drops_wrong_ports; /* instead of refusing them */
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
	LB_UNTRACKED = 7,   /* not entered: the flow table is full, or it is a last packet */
	LB_OVER_BUDGET = 8, /* not entered: too many handshakes, or connections in mid-stream, at once */
	LB_UDP_ESTABLISHED = 9,
	LB_UDP_NEW = 10,
	LB_FRAGMENT = 11,   /* went after its first fragment */
	LB_ICMP_ERROR = 12, /* went to the backend whose packet it quotes */
	LB_ARP_REPLY = 13,
	LB_PING_REPLY = 14,
	LB_WRONG_PORT = 15, /* a VIP, but no service on this port: refused by TCP RST or ICMP port unreachable */
	LB_RESET = 16,       /* of a connection whose backend is dead or halted: answered by a TCP RST */
	LB_TURNED_AWAY = 17, /* nobody takes new connections, and the pool's on_empty is reset: refused as a wrong port is */
	/* dropped */
	LB_NO_SERVICE = 18,    /* as wrong_port, but too many at once, or to be dropped; or another protocol than TCP, UDP, ICMP */
	LB_EMPTY = 19,         /* as turned_away, but too many at once */
	LB_NO_BACKEND = 20,    /* nobody takes new connections, and on_empty is drop; or in mid-stream without a flow */
	LB_DEAD = 21,          /* as reset, but too many at once */
	LB_UNRESOLVED = 22,    /* the backend's MAC was never confirmed */
	LB_LOOP_OWN = 23,      /* our own frame or probe came back */
	LB_LOOP_BACKEND = 24,  /* the chosen backend sent the packet back: the VIP is not on its loopback */
	LB_LOST_FRAGMENT = 25, /* its first fragment did not come by, or too long ago */
	LB_MALFORMED = 26,
	LB_ICMP_UNKNOWN = 27, /* an ICMP message that is no ping and quotes no connection of ours */
	LB_REASONS = 28,
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
#define LB_MEMBERS 256       /* rows of lb_members for each pool */
#define LB_MEMBER_PROBES 32  /* so many of them are asked for room */
#define LB_OWN_PROBES 24     /* so many of these, at most, before those of the fallback */

_Static_assert(sizeof(struct backend) == 24, "struct backend");
_Static_assert(sizeof(struct connections) == 40, "struct connections");
_Static_assert(sizeof(struct pool) == 24, "struct pool");
_Static_assert(sizeof(struct assignment_key) == 8, "struct assignment_key");
_Static_assert(sizeof(struct service) == 16, "struct service");
_Static_assert(sizeof(struct interface) == 16, "struct interface");
_Static_assert(sizeof(struct flow_key4) == 16, "struct flow_key4");
_Static_assert(sizeof(struct flow) == 24, "struct flow");
_Static_assert(sizeof(struct globals) == 24, "struct globals");
_Static_assert(sizeof(struct budget) == 8, "struct budget");
_Static_assert(sizeof(struct service_stats) == 24, "struct service_stats");
_Static_assert(sizeof(struct backend_stats) == 32, "struct backend_stats");

#endif
