/* SPDX-License-Identifier: GPL-2.0-or-later */
/* maps.h: the tables shared with user space. Every size here is 1: the compiler needs none, and the loader creates each
 * map with the size that lbctl/dataplane/layout.py gives it. */
#ifndef LB_MAPS_H
#define LB_MAPS_H

#include "types.h"

#define NO_PREALLOC (1U << 0) /* BPF_F_NO_PREALLOC: a trie cannot be otherwise */
#define MMAPABLE (1U << 10) /* BPF_F_MMAPABLE: user space writes single words without a system call */

/* What concerns the director as a whole, row 0. */
BPF_F_TABLE("array", u32, struct globals, lb_globals, 1, 0);

/* The segments we balance on: a hash table in an array, as lb_services. */
BPF_F_TABLE("array", u32, struct interface, lb_interfaces, 1, 0);

/* One bit for each hash of an address: lets foreign traffic pass without a hash look-up. */
BPF_F_TABLE("array", u32, u64, lb_vip_filter, 1, MMAPABLE);

/* Where to send what leaves by another interface than it came in by: the device of each row of lb_interfaces. */
BPF_DEVMAP(lb_devices, 1);

/* The virtual addresses, exactly. */
BPF_F_TABLE("hash", __be32, struct vip, lb_vips4, 1, 0);
BPF_F_TABLE("hash", struct address6, struct vip, lb_vips6, 1, 0);

/* (VIP, port, protocol) to the pool that answers: a hash table in an array, for an array look-up is inlined (2 ns) and a hash
 * map's is a call (37 ns). User space places the rows. */
BPF_F_TABLE("array", u32, struct service, lb_services, 1, MMAPABLE);

/* Where each pool's slots lie. */
BPF_F_TABLE("array", u32, struct pool, lb_pools, 1, MMAPABLE);

/* All pools' slots, one block a pool: slot to backend. */
BPF_F_TABLE("array", u32, u32, lb_slots, 1, MMAPABLE);

/* The real servers by id. */
BPF_F_TABLE("array", u32, struct backend, lb_backends, 1, MMAPABLE);

/* Who takes new connections of each pool and of its fallback, LB_MEMBERS rows a pool: where to look for room when a slot's
 * owner has none. */
BPF_F_TABLE("array", u32, u32, lb_members, 1, MMAPABLE);

/* Each backend's TCP connections, by backend id. */
BPF_F_TABLE("array", u32, struct connections, lb_connections, 1, MMAPABLE);

/* Which backend holds what a source sends to a pool with private storage. The daemon keeps them on disk. */
BPF_F_TABLE("hash", struct assignment_key4, u32, lb_assignments4, 1, 0);
BPF_F_TABLE("hash", struct assignment_key6, u32, lb_assignments6, 1, 0);

/* Which sources may come, and how they are classed: lists of prefixes. Asked for what has no flow only. */
BPF_F_TABLE("lpm_trie", struct source_key4, struct source, lb_sources4, 1, NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct source_key6, struct source, lb_sources6, 1, NO_PREALLOC);

/* Row 0 is this CPU's note of whom it looked at: the verifier follows a note in a map less far than one on the stack. (An XDP
 * program is not interrupted by another on its CPU; on a PREEMPT_RT kernel without the BH lock that would have to be seen to.) */
BPF_F_TABLE("percpu_array", u32, struct candidate, lb_candidates, 1, 0);

/* Connections between SYN and first ACK, direct-mapped, one word each (see recent.h): a flood overwrites, never grows. */
BPF_F_TABLE("array", u32, u64, lb_half_opens, 1, MMAPABLE);

/* When the SYN of a connection came, if it is one that is timed: by the row of its half-open entry. */
BPF_F_TABLE("array", u32, u32, lb_handshake_starts, 1, 0);

/* How long each backend's handshakes took, by backend id. */
BPF_F_TABLE("array", u32, struct handshake_times, lb_handshake_times, 1, MMAPABLE);

/* Which way the first fragment of a datagram went, direct-mapped, one word each as in lb_half_opens. */
BPF_F_TABLE("array", u32, u64, lb_fragments, 1, 0);

/* Tokens against floods, by service id and purpose. */
BPF_F_TABLE("percpu_array", u32, struct budget, lb_budgets, 1, 0);

/* Live TCP connections. Plain hash, not LRU: full is refused and told, a quiet association is never evicted. (Preallocated: an
 * element that the sweep deletes may be another flow's before a CPU that just looked it up is done with it, in nanoseconds;
 * the sweep deletes only what was silent for long.) */
BPF_F_TABLE("hash", struct flow_key4, struct flow, lb_flows_tcp4, 1, 0);
BPF_F_TABLE("hash", struct flow_key6, struct flow, lb_flows_tcp6, 1, 0);

/* Live UDP flows. */
BPF_F_TABLE("hash", struct flow_key4, struct flow, lb_flows_udp4, 1, 0);
BPF_F_TABLE("hash", struct flow_key6, struct flow, lb_flows_udp6, 1, 0);

/* Packets by the way they left. */
BPF_F_TABLE("percpu_array", u32, struct counter, lb_reasons, 1, 0);

/* What each service received, by service id. */
BPF_F_TABLE("percpu_array", u32, struct service_stats, lb_service_stats, 1, 0);

/* What each backend was sent, by backend id. */
BPF_F_TABLE("percpu_array", u32, struct backend_stats, lb_backend_stats, 1, 0);

/* What people watch, while somebody does. */
BPF_RINGBUF_OUTPUT(lb_events, 1);

/* Row 0 is this CPU's event in the making. */
BPF_F_TABLE("percpu_array", u32, struct event, lb_event_drafts, 1, 0);

/* Row 0 is this CPU's note of what the extension headers of an IPv6 packet say. */
BPF_F_TABLE("percpu_array", u32, struct chain, lb_chains, 1, 0);

/* The programs for IPv6, by enum lb_program: programs of their own, so that each is verified by itself, and IPv4 does not pay. */
BPF_PROG_ARRAY(lb_programs, 1);

#endif
