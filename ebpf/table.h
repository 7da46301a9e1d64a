/* SPDX-License-Identifier: GPL-2.0-or-later */
/* table.h: what both families do in tables of their own: flows by key, and VIPs. */
#ifndef LB_TABLE_H
#define LB_TABLE_H

#include "ipv6.h"
#include "choice.h"

/* Both ports lie together in every transport header as they do in a key. They are copied as one word, and addresses as wide words:
 * what is stored in pieces and read as a whole by the look-up costs a stall of the CPU. */
static __always_inline void set_key(struct choice *c, const struct packet *pkt, const void *transport)
{
	u32 ports = *(const u32 *)transport;

	if (pkt->is_ipv6) {
		const struct ipv6_header *ip = pkt->ip;

		copy6(c->key6.client, ip->source);
		copy6(c->key6.vip, ip->destination);
		*(u64 *)&c->key6.client_port = ports; /* and the padding */
	} else {
		const struct iphdr *ip = pkt->ip;

		*(u64 *)&c->key4.client = *(const u64 *)&ip->saddr; /* and the VIP */
		*(u32 *)&c->key4.client_port = ports;
	}
}

static __always_inline struct flow *find_tcp(struct choice *c)
{
	return c->is_ipv6 ? lb_flows_tcp6.lookup(&c->key6) : lb_flows_tcp4.lookup(&c->key4);
}

static __always_inline struct flow *find_udp(struct choice *c)
{
	return c->is_ipv6 ? lb_flows_udp6.lookup(&c->key6) : lb_flows_udp4.lookup(&c->key4);
}

/* Not 0: it is there already, or there is no room. */
static __always_inline long insert_tcp(struct choice *c, struct flow *flow)
{
	return c->is_ipv6 ? lb_flows_tcp6.insert(&c->key6, flow) : lb_flows_tcp4.insert(&c->key4, flow);
}

/* Not 0: there is no room. */
static __always_inline long update_udp(struct choice *c, struct flow *flow)
{
	return c->is_ipv6 ? lb_flows_udp6.update(&c->key6, flow) : lb_flows_udp4.update(&c->key4, flow);
}

static __always_inline void delete_tcp(struct choice *c)
{
	if (c->is_ipv6)
		lb_flows_tcp6.delete(&c->key6);
	else
		lb_flows_tcp4.delete(&c->key4);
}

static __always_inline struct vip *vip_of(const struct packet *pkt)
{
	if (pkt->is_ipv6) {
		const struct ipv6_header *ip = pkt->ip;

		return lb_vips6.lookup((struct address6 *)ip->destination);
	}
	const struct iphdr *ip = pkt->ip;
	__be32 address = ip->daddr;

	return lb_vips4.lookup(&address);
}

/* Whether a VIP is answered for where the packet came in: on its own segment, or anywhere if it is routed to us. */
static __always_inline bool is_here(const struct vip *vip, const struct packet *pkt)
{
	return vip && (!vip->lan || vip->lan == pkt->lan);
}

#endif
