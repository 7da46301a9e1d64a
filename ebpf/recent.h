/* SPDX-License-Identifier: GPL-2.0-or-later */
/* recent.h: short memories of one 64-bit word each, direct-mapped by hash: which backend a SYN or a first fragment went to.
 * A word holds the high half of the hash as a tag, then the backend's id (16), the low half of its generation (8) and a
 * coarse time (8). One store writes it, so a reader sees a whole entry. A flood overwrites entries and nothing else; whoever
 * lost his is chosen for by hash again. */
#ifndef LB_RECENT_H
#define LB_RECENT_H

#include "maps.h"

#define RECENT_TICK 8   /* a tick is 256 jiffies: 1.02 s at 250 Hz, 2.56 s at 100 Hz */
#define RECENT_TICKS 64 /* older entries are not trusted (the time wraps at 256 ticks; see retention.py) */

static __always_inline u8 recent_now(void)
{
	return bpf_jiffies64() >> RECENT_TICK;
}

static __always_inline u64 recent_entry(u64 hash, backend_ref ref)
{
	u64 generation = (ref >> 16) & 0xff;

	return (hash & 0xffffffff00000000ULL) | (u64)(ref & 0xffff) << 16 | generation << 8 | recent_now();
}

/* The row of the backend that an entry names, if it is this hash's entry, fresh, and the id was not given away since. */
static __always_inline struct backend *recent_backend(u64 entry, u64 hash, backend_ref *ref)
{
	u32 id = (entry >> 16) & 0xffff;
	u8 age = recent_now() - (u8)entry;
	struct backend *backend;

	if ((entry ^ hash) >> 32 || age > RECENT_TICKS || !id)
		return NULL;
	backend = lb_backends.lookup(&id);
	if (!backend || backend->state == LB_BACKEND_ABSENT || (u8)(backend->link >> 48) != (u8)(entry >> 8))
		return NULL;
	*ref = (u32)(backend->link >> 48) << 16 | id;
	return backend;
}

#endif
