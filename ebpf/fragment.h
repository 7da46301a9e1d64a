/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fragment.h: fragments follow the first one of their datagram, which alone has the ports (RFC 791, RFC 8200 section 4.5). */
#ifndef LB_FRAGMENT_H
#define LB_FRAGMENT_H

#include "ipv6.h"
#include "choice.h"
#include "recent.h"

/* Source, destination and identification name a datagram, of IPv4 with the protocol. */
static __always_inline u64 hash_datagram(const struct packet *pkt)
{
	if (pkt->is_ipv6) {
		const struct ipv6_header *ip = pkt->ip;
		struct flow_key6 key = {.client_port = pkt->identification, .vip_port = pkt->identification >> 16};

		__builtin_memcpy(key.client, ip->source, sizeof(key.client));
		__builtin_memcpy(key.vip, ip->destination, sizeof(key.vip));
		return hash_flow6(&key, flow_seed());
	}
	const struct iphdr *ip = pkt->ip;
	struct flow_key4 key = {ip->saddr, ip->daddr, pkt->identification, pkt->protocol};

	return hash_flow4(&key, flow_seed());
}

static __always_inline void remember_fragment(const struct packet *pkt, backend_ref ref)
{
	u64 hash = hash_datagram(pkt);
	u32 index = (u32)hash & (LB_FRAGMENTS - 1);
	u64 *entry = lb_fragments.lookup(&index);

	if (entry)
		*(volatile u64 *)entry = recent_entry(hash, ref);
}

static __always_inline bool choose_by_fragment(struct choice *c, const struct packet *pkt)
{
	u64 hash = hash_datagram(pkt);
	u32 index = (u32)hash & (LB_FRAGMENTS - 1);
	u64 *entry = lb_fragments.lookup(&index);

	if (!entry)
		return false;
	c->backend = recent_backend(*(volatile u64 *)entry, hash, &c->ref);
	return c->backend != NULL;
}

#endif
