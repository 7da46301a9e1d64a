/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handshake.h: how long backends take to accept new connections. */
#ifndef LB_HANDSHAKE_H
#define LB_HANDSHAKE_H

#include "maps.h"
#include "choice.h"

/* Which connections are timed: the fine clock costs as much as a hash look-up. */
static __always_inline bool is_sampled(const struct choice *c)
{
	return !(c->hash >> 32 & (LB_HANDSHAKE_SAMPLE - 1));
}

static __always_inline u32 fine_time(void)
{
	return bpf_ktime_get_ns() >> 10;
}

/* A SYN goes to its backend. The time of one that was sent again says nothing: which of the two is answered is not known (Karn). */
static __always_inline void time_syn(const struct choice *c)
{
	u32 row = (u32)c->hash & (LB_HALF_OPENS - 1);
	u32 *start = is_sampled(c) ? lb_handshake_starts.lookup(&row) : NULL;

	if (start)
		*start = c->is_repeated ? 0 : fine_time() | 1;
}

/* The number of bits that a value takes, less one: by halves, for BPF has no instruction for it. */
static __always_inline u32 log2_of(u32 value)
{
	u32 log = 0;

#pragma unroll
	for (u32 width = 16; width; width >>= 1) {
		u32 is_longer = !!(value >> width);

		log += is_longer * width;
		value >>= is_longer * width;
	}
	return log;
}

/* The first ACK: its client heard the backend. */
static __always_inline void time_completed(const struct choice *c)
{
	u32 id = c->ref & 0xffff, row = (u32)c->hash & (LB_HALF_OPENS - 1);
	u32 *start = is_sampled(c) ? lb_handshake_starts.lookup(&row) : NULL;
	struct handshake_times *times;
	u32 bucket;

	if (!start || !*start)
		return;
	times = lb_handshake_times.lookup(&id);
	bucket = log2_of((fine_time() - *start) | 1);
	if (times)
		__sync_fetch_and_add(&times->buckets[bucket < LB_HANDSHAKE_BUCKETS ? bucket : LB_HANDSHAKE_BUCKETS - 1], 1);
	*start = 0;
}

#endif
