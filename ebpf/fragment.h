/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fragment.h: fragments follow the first one of their datagram, which alone has the ports (RFC 791). */
#ifndef LB_FRAGMENT_H
#define LB_FRAGMENT_H

#include "select.h"

/* Source, destination, identification and protocol name a datagram. */
static __always_inline u64 hash_datagram(const struct iphdr *ip)
{
	struct flow_key4 key = {ip->saddr, ip->daddr, ip->id, ip->protocol};

	return hash_of(&key);
}

static __always_inline void remember_fragment(const struct iphdr *ip, backend_ref ref)
{
	u64 hash = hash_datagram(ip);
	u32 index = (u32)hash & (LB_FRAGMENTS - 1);
	u64 *entry = lb_fragments.lookup(&index);

	if (entry)
		*(volatile u64 *)entry = recent_entry(hash, ref);
}

static __always_inline bool choose_by_fragment(struct choice *c, const struct iphdr *ip)
{
	u64 hash = hash_datagram(ip);
	u32 index = (u32)hash & (LB_FRAGMENTS - 1);
	u64 *entry = lb_fragments.lookup(&index);

	if (!entry)
		return false;
	c->backend = recent_backend(*(volatile u64 *)entry, hash, &c->ref);
	return c->backend != NULL;
}

#endif
