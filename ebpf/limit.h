/* SPDX-License-Identifier: GPL-2.0-or-later */
/* limit.h: how many connections a backend has, and whether it may have one more. A SYN reserves a place, so that a burst does not
 * overrun a backend that has one left; only a connection that is made takes it for good. So reservations steer, and a flood
 * of SYNs can keep nobody out; what is refused for the limit is refused at the first ACK, before the server accepts it. */
#ifndef LB_LIMIT_H
#define LB_LIMIT_H

#include "maps.h"
#include "recent.h"

/* Places for new connections: those that nobody has taken, and those that nobody has reserved either. */
struct places {
	s32 untaken;
	s32 unreserved;
};

static __always_inline struct connections *connections_of(backend_ref ref)
{
	u32 id = ref & 0xffff;

	return lb_connections.lookup(&id);
}

/* Below zero for a moment if a correction comes before what it corrects. */
static __always_inline s32 live_among(const struct connections *connections, u64 opened)
{
	return (u32)opened - connections->corrected;
}

static __always_inline u32 recent_tick(void)
{
	return bpf_jiffies64() >> RECENT_TICK;
}

/* Reservations made in a tick that are still to be redeemed. Without a branch, for it stands in a loop. */
static __always_inline u32 pending_of(const struct connections *connections, u32 tick)
{
	u64 pending = connections->pending[tick & 1];
	u64 is_other = (pending >> 32) ^ tick;

	return (u32)pending & (u32)((is_other - 1) >> 32);
}

/* None at all from the limit on until there are few enough again. */
static __always_inline struct places places_at(const struct connections *connections, u32 tick)
{
	s32 live = live_among(connections, connections->opened);
	s32 is_above_resume = ((s32)connections->resume - live) >> 31;
	s32 none = -(s32)connections->is_full & is_above_resume;
	struct places places = {.untaken = ((s32)connections->limit - live) & ~none};

	places.unreserved = places.untaken - pending_of(connections, tick) - pending_of(connections, tick - 1);
	return places;
}

static __always_inline void reserve(struct connections *connections, u32 tick)
{
	u64 *pending = &connections->pending[tick & 1];
	u64 found = *(volatile u64 *)pending;

	if (found >> 32 != tick) /* left from two ticks ago, or more; whichever CPU does it first */
		__sync_val_compare_and_swap(pending, found, (u64)tick << 32);
	__sync_fetch_and_add(pending, 1);
}

/* A handshake ended; its reservation, made at that tick (the low 8 bits), has expired meanwhile or it has not. */
static __always_inline void release(backend_ref ref, u8 tick)
{
	struct connections *connections = connections_of(ref);

	if (connections && (u8)(connections->pending[tick & 1] >> 32) == tick && (u32)connections->pending[tick & 1])
		__sync_fetch_and_add(&connections->pending[tick & 1], -1);
}

/* One more connection is made. False: the backend is full, and the connection must not be, if it `must_fit`. */
static __always_inline bool join(backend_ref ref, bool must_fit)
{
	struct connections *connections = connections_of(ref);
	s32 live, limit;

	if (!connections)
		return true;
	limit = connections->limit;
	live = live_among(connections, __sync_fetch_and_add(&connections->opened, 1)) + 1;
	if (live >= limit)
		connections->is_full = 1;
	if (!must_fit || live <= limit)
		return true;
	__sync_fetch_and_add(&connections->opened, -1);
	return false;
}

static __always_inline void leave(backend_ref ref)
{
	struct connections *connections = connections_of(ref);
	s32 live;

	if (!connections)
		return;
	live = live_among(connections, __sync_fetch_and_add(&connections->opened, -1)) - 1;
	if (connections->is_full && live <= (s32)connections->resume)
		connections->is_full = 0;
}

#endif
