/* SPDX-License-Identifier: GPL-2.0-or-later */
/* half_open.h: the backend that a SYN went to, until the first ACK. */
#ifndef LB_HALF_OPEN_H
#define LB_HALF_OPEN_H

#include "choice.h"
#include "features.h"
#include "limit.h"
#include "recent.h"

/* The backend that the flow's SYN went to, if that is still known. What state it must be in is for the caller to say. */
static __always_inline bool choose_by_half_open(struct choice *c)
{
	u32 index = (u32)c->hash & (LB_HALF_OPENS - 1);
	u64 *entry = lb_half_opens.lookup(&index);

	c->ref = 0;
	c->backend = NULL;
	if (!entry)
		return false;
	c->backend = recent_backend(*(volatile u64 *)entry, c->hash, &c->ref);
	return c->backend != NULL;
}

/* A handshake that is complete is no longer half open: the flow knows the backend from now on. */
static __always_inline void forget_half_open(const struct choice *c)
{
	u32 index = (u32)c->hash & (LB_HALF_OPENS - 1);
	u64 *entry = lb_half_opens.lookup(&index);

	if (!entry || (*(volatile u64 *)entry ^ c->hash) >> 32) /* another's by now */
		return;
	if (LB_LIMITS && c->backend->is_limited)
		release(c->ref, (u8)*(volatile u64 *)entry);
	*(volatile u64 *)entry = 0;
}

static __always_inline void remember_half_open(const struct choice *c)
{
	u32 index = (u32)c->hash & (LB_HALF_OPENS - 1);
	u64 *entry = lb_half_opens.lookup(&index);

	if (entry)
		*(volatile u64 *)entry = recent_entry(c->hash, c->ref);
}

#endif
