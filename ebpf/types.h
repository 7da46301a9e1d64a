/* SPDX-License-Identifier: GPL-2.0-or-later */
/* types.h: every layout and number shared with user space. This file is the authority; lbctl/dataplane/layout.py is its
 * one mirror, and the build refuses to start when the two differ in a field's name, offset or size.
 *
 * An upgrade carries over what tables of another layout hold, field by field (lbctl/dataplane/carrying.py). So a name keeps its
 * meaning, and a number of an enum as well: what means something else gets another name, and a new field takes zero for
 * "as before". */
#ifndef LB_TYPES_H
#define LB_TYPES_H

/* A backend as slots, half-open entries and flows name it: id in the low 16 bits, generation in the high 16. An id is
 * reused after a removal, its generation is not: a reference whose generation is old is a miss, never another server.
 * Id 0 is nobody. */
typedef u32 backend_ref;

/* Rows of lb_programs. */
enum lb_program {
	LB_PROGRAM_INGRESS6 = 0,
	LB_PROGRAM_DISCOVER6 = 1,
	LB_PROGRAMS = 2,
};

#define LB_HANDSHAKE_BUCKETS 24
#define LB_HANDSHAKE_SAMPLE 8 /* power of two */
#define LB_EVENT_HEADERS 128

enum lb_backend_state {
	LB_BACKEND_ABSENT = 0,   /* the row is free */
	LB_BACKEND_UP = 1,       /* takes new connections */
	LB_BACKEND_DRAINING = 2, /* keeps its connections, takes no new ones */
	LB_BACKEND_DOWN = 3,     /* as draining; and a client that connects anew from the same port chooses again */
	LB_BACKEND_DEAD = 4,     /* as down; and its connections cannot be alive: their clients get a reset */
	LB_BACKEND_HALTED = 5,   /* as dead, but the server lives: what ends a connection is passed on to it */
};

/* A layer-2 segment as one word: the interface's index in the low 32 bits, the VLAN in the high. Of one tag the VLAN is its id
 * (0: untagged, or a priority tag only), of two the outer id times 4096 plus the inner one. 0 as a whole is no segment. */
typedef u64 lan_word;

/* One real server. `link` is one word, so that a MAC and its generation change in one store: the MAC's six bytes as they
 * stand in a frame, then the generation. A MAC of zero was never confirmed, and nothing is sent there. */
struct backend {
	u64 link;
	lan_word lan;      /* where it is */
	u64 identity;      /* hash of the stable name: what a restarted daemon recognises the row by */
	__be32 address[4]; /* an IPv4 one as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2); for user space */
	u8 state;          /* enum lb_backend_state */
	u8 is_limited;     /* its row in lb_connections says to how many */
	u8 pad[6];
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
struct assignment_key4 {
	__be32 client;
	u32 pool;
};

struct assignment_key6 {
	__be32 client[4];
	u32 pool;
};

/* One (VIP, port, protocol) and the pool that answers. The key is one word as it lies in memory: the VIP (of IPv6 its number),
 * port, protocol, and 0 for IPv4 or 6 for IPv6. */
struct service {
	u64 key;     /* 0: the row is free */
	u16 id;      /* index of its counters; 0 is never used */
	u16 pool;    /* index into lb_pools */
	u16 sources; /* which list of lb_sources4 or lb_sources6 says who may come; 0: everybody */
	u16 pad;
};

/* A virtual address. `number` stands for an IPv6 one where there are 32 bits only. */
struct vip {
	lan_word lan; /* where it is answered for, by ARP or neighbour discovery and by ping; 0: routed to us, from anywhere */
	u64 claimant; /* the MAC of another station that said the address was its own, the latest one; 0: none */
	u64 claims;   /* how often one did */
	u32 number;
	u32 pad;
};

/* A segment that we balance on: an interface, or a VLAN of one. */
struct interface {
	lan_word lan; /* 0: the row is free */
	u64 mac;      /* six bytes as they stand in a frame, then zeros */
	__be32 address4; /* the director's own: a probe of ours that comes back is known by it; 0: none */
	u32 pad;
	__be32 address6[4];
};

/* Who may come to the services that have this list, and which pool row a source's connections are shared by; the longest prefix
 * counts, and who matches none is denied. `prefix` counts the bits of the list, too. */
struct source_key4 {
	u32 prefix;
	__be32 list;
	__be32 address;
};

struct source_key6 {
	u32 prefix;
	__be32 list;
	__be32 address[4];
};

struct source {
	u32 pool; /* the row of its class in lb_pools; 0: the service's own pool */
};

struct address6 {
	__be32 words[4];
};

/* Behind an IPv6 header: where the transport header begins, from the IPv6 header on, and what a fragment header says. */
struct chain {
	u32 length;
	u32 identification;
	u8 protocol;
	u8 is_first_fragment;
	u8 is_later_fragment;
	u8 pad[5];
};

/* A client's end and a VIP's. Without padding the kernel hashes and compares this one fastest, the next one with it. */
struct flow_key4 {
	__be32 client;
	__be32 vip;
	__be16 client_port;
	__be16 vip_port;
};

struct flow_key6 {
	__be32 client[4];
	__be32 vip[4];
	__be16 client_port;
	__be16 vip_port;
	u32 pad;
};

enum lb_flow_state {
	LB_FLOW_OPEN = 0,
	LB_FLOW_CLOSING = 1, /* the client sent FIN */
	LB_FLOW_RESET = 2,   /* the client sent RST */
};

/* How far both ends have come is kept as positions: bytes returned are (acked_wraps * 2^32 + acked - first_acked), bytes sent
 * likewise. So an established packet stores no more than its two sequence numbers. */
struct flow {
	backend_ref backend;
	u32 last_seen; /* jiffies, low 32 bits: compare as signed differences */
	u16 service;
	u8 state; /* enum lb_flow_state */
	u8 is_unproven; /* one packet was seen, and it may be spoofed */
	u32 acked; /* the client's furthest acknowledgement: where a reset to it must stand to be believed (RFC 5961) */
	u32 next;  /* what the client sends next: where a reset to the server must stand */
	u16 acked_wraps;
	u16 next_wraps;
	u32 first_acked;
	u32 first_next;
};

/* Bytes are those of the IP datagram, as its total length says. */
struct counter {
	u64 packets;
	u64 bytes;
};

/* `returned` and `sent` are bytes of TCP payload, as the client's acknowledgements and sequence numbers progress: what came back
 * past the director, and what the server took. */
struct service_stats {
	u64 packets;
	u64 bytes;
	u64 connections;
	u64 returned;
	u64 sent;
	u64 denied; /* packets of sources that may not come */
};

struct backend_stats {
	u64 packets;
	u64 bytes;
	u64 connections;
	u64 returned;
	u64 sent;
	u64 looped;     /* packets that the backend sent back to us instead of accepting them */
	u64 begun;      /* handshakes: first SYNs */
	u64 repeated;   /* SYNs sent again: nobody answered the one before in time */
	u64 completed;  /* handshakes that their client completed */
};

/* How long handshakes took, from SYN to first ACK: bucket i counts those of 2^i to 2^(i+1) units of 1.024 us, the last one all that
 * took longer. One in LB_HANDSHAKE_SAMPLE is timed. */
struct handshake_times {
	u64 buckets[LB_HANDSHAKE_BUCKETS];
};

/* For people who watch: a new flow, or a packet that was dropped. Cut behind the layer-4 header, for what follows is patients'. */
struct event {
	u64 time;    /* ns since boot */
	lan_word lan;
	backend_ref backend; /* 0: none was chosen */
	u16 reason;  /* enum lb_reason */
	u16 service; /* id; 0: none */
	u32 bytes;   /* of the frame */
	u32 captured;
	u8 headers[LB_EVENT_HEADERS];
};

/* What tokens are for. A row of lb_budgets is (service id * LB_PURPOSES + purpose); service 0 is the director itself. */
enum lb_purpose {
	LB_REFUSALS = 0, /* of the director: answers for ports without service, and for pools without backends */
	LB_RESETS = 1,   /* of the director: resets in the name of backends that are dead or halted */
	LB_PICK_UPS = 0, /* of a service: connections in mid-stream, entered as flows */
	LB_HANDSHAKES = 1, /* of a service: completed handshakes, entered as flows */
	LB_EVENTS = 2,     /* of the director: events for people */
	LB_PURPOSES = 3,
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
	u32 watched; /* which events somebody watches: bits of enum lb_watch */
	u32 pad;
};

enum lb_watch {
	LB_WATCH_FLOWS = 1,
	LB_WATCH_DROPS = 2,
};

/* One value for each way a packet can leave. Their names, in lower case without the prefix, are the names in
 * `lbctl status`. The order carries the verdict: see verdict_of() in stats.h. */
enum lb_reason {
	/* passed to the kernel, unaltered */
	LB_NOT_VIP = 0,
	LB_OTHER_MAC = 1, /* for a VIP, but addressed to another station: flooded by a switch */
	LB_OTHER_LAN = 2, /* for a VIP, but on an interface or VLAN that is not ours */
	LB_VIP_CLAIMED = 3, /* another station says that a VIP is its own: ARP or neighbour discovery */
	/* sent on: out of the interface it came in by, or of its backend's */
	LB_ESTABLISHED = 4,
	LB_FIRST_ACK = 5,   /* completes a handshake: the flow is entered */
	LB_SYN = 6,         /* a new connection, not yet a flow */
	LB_REUSED_PORT = 7, /* a new connection from the ports of an earlier one */
	LB_PICKED_UP = 8,   /* in mid-stream without a flow: chosen by hash and entered */
	LB_UNTRACKED = 9,   /* not entered: the flow table is full, or it is a last packet */
	LB_OVER_BUDGET = 10, /* not entered: too many handshakes, or connections in mid-stream, at once */
	LB_UDP_ESTABLISHED = 11,
	LB_UDP_NEW = 12,
	LB_FRAGMENT = 13,   /* went after its first fragment */
	LB_ICMP_ERROR = 14, /* went to the backend whose packet it quotes */
	LB_ARP_REPLY = 15,
	LB_NEIGHBOUR_REPLY = 16, /* as arp_reply, for IPv6 */
	LB_PING_REPLY = 17,
	LB_WRONG_PORT = 18, /* a VIP, but no service on this port: refused by TCP RST or ICMP port unreachable */
	LB_RESET = 19,       /* of a connection whose backend is dead or halted: answered by a TCP RST */
	LB_TURNED_AWAY = 20, /* nobody takes new connections, and the pool's on_empty is reset: refused as a wrong port is */
	/* dropped */
	LB_NO_SERVICE = 21,    /* as wrong_port, but too many at once, or to be dropped; or another protocol than TCP, UDP, ICMP */
	LB_EMPTY = 22,         /* as turned_away, but too many at once */
	LB_NO_BACKEND = 23,    /* nobody takes new connections, and on_empty is drop; or in mid-stream without a flow */
	LB_DEAD = 24,          /* as reset, but too many at once */
	LB_DENIED = 25,        /* a new connection from a source that the service does not allow */
	LB_UNRESOLVED = 26,    /* the backend's MAC was never confirmed, or we have no interface where it is */
	LB_LOOP_OWN = 27,      /* our own frame or probe came back */
	LB_LOOP_BACKEND = 28,  /* the chosen backend sent the packet back: the VIP is not on its loopback */
	LB_LOST_FRAGMENT = 29, /* its first fragment did not come by, or too long ago */
	LB_MALFORMED = 30,
	LB_ICMP_UNKNOWN = 31, /* an ICMP message that is no ping and quotes no connection of ours */
	LB_REASONS = 32,
	LB_ADMITTED = LB_REASONS, /* not a way to leave: go on */
};

#define LB_FIRST_TX LB_ESTABLISHED
#define LB_FIRST_DROP LB_NO_SERVICE

#define LB_INTERFACES 1024     /* power of two: rows of lb_interfaces, and of lb_devices */
#define LB_INTERFACE_PROBES 8  /* a segment stands in one of this many rows from its hash on */
#define LB_SERVICES 32768    /* power of two: rows of lb_services */
#define LB_SERVICE_PROBES 8  /* a service stands in one of this many rows from its hash on */
#define LB_HALF_OPENS 65536  /* power of two: rows of lb_half_opens */
#define LB_FRAGMENTS 16384   /* power of two: rows of lb_fragments */
#define LB_FILTER_WORDS 1024 /* power of two: 64-bit words of lb_vip_filter */
#define LB_MEMBERS 256       /* rows of lb_members for each pool */
#define LB_MEMBER_PROBES 32  /* so many of them are asked for room */
#define LB_OWN_PROBES 24     /* so many of these, at most, before those of the fallback */

_Static_assert(sizeof(struct backend) == 48, "struct backend");
_Static_assert(sizeof(struct connections) == 40, "struct connections");
_Static_assert(sizeof(struct pool) == 24, "struct pool");
_Static_assert(sizeof(struct assignment_key4) == 8, "struct assignment_key4");
_Static_assert(sizeof(struct assignment_key6) == 20, "struct assignment_key6");
_Static_assert(sizeof(struct source_key4) == 12, "struct source_key4");
_Static_assert(sizeof(struct source_key6) == 24, "struct source_key6");
_Static_assert(sizeof(struct vip) == 32, "struct vip");
_Static_assert(sizeof(struct event) == 160, "struct event");
_Static_assert(sizeof(struct service) == 16, "struct service");
_Static_assert(sizeof(struct interface) == 40, "struct interface");
_Static_assert(sizeof(struct flow_key4) == 12, "struct flow_key4");
_Static_assert(sizeof(struct flow_key6) == 40, "struct flow_key6");
_Static_assert(sizeof(struct flow) == 32, "struct flow");
_Static_assert(sizeof(struct globals) == 32, "struct globals");
_Static_assert(sizeof(struct budget) == 8, "struct budget");
_Static_assert(sizeof(struct service_stats) == 48, "struct service_stats");
_Static_assert(sizeof(struct backend_stats) == 72, "struct backend_stats");

#endif
