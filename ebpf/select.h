/* SPDX-License-Identifier: GPL-2.0-or-later */
/* select.h: which backend a new connection goes to: by assignment, by slot, or to whoever has room. */
#ifndef LB_SELECT_H
#define LB_SELECT_H

#include "assign.h"
#include "choice.h"
#include "features.h"
#include "limit.h"

#define NO_ROW 0xffffffffU

static __always_inline bool is_taker(const struct backend *backend, backend_ref ref)
{
	return backend->state == LB_BACKEND_UP && backend->link >> 48 == ref >> 16;
}

/* The backend of a reference, if it takes new connections. */
static __always_inline bool choose_taker(struct choice *c, backend_ref ref)
{
	c->ref = ref;
	c->backend = backend_of(ref);
	return c->backend && c->backend->state == LB_BACKEND_UP;
}

/* By which 32 bits a slot is chosen: each connection for itself, or all of a source together. */
static __always_inline u32 slot_hash(const struct choice *c)
{
	if (!LB_PRIVATE || !c->home->is_private)
		return c->hash >> 32;
	return c->is_ipv6 ? hash_source6(c->key6.client, flow_seed()) : hash_source4(c->key4.client, flow_seed());
}

/* The owner of the flow's slot, or 0. */
static __always_inline backend_ref owner_of_slot(const struct choice *c)
{
	u64 table = *(volatile u64 *)&c->home->table;
	u32 index = (u32)table + (u32)(((u64)slot_hash(c) * (table >> 32)) >> 32);
	u32 *slot = lb_slots.lookup(&index);

	return slot && table >> 32 ? *(volatile u32 *)slot : 0;
}

/* Remembers a backend if it takes one more TCP connection, and better than whom was remembered before. */
static __always_inline void consider(struct candidate *best, backend_ref ref)
{
	u32 id = ref & 0xffff;
	struct backend *backend = lb_backends.lookup(&id);
	struct connections *connections = lb_connections.lookup(&id);
	struct places places;
	u32 room;

	if (!backend || !connections || !is_taker(backend, ref))
		return;
	places = places_at(connections, recent_tick());
	room = (places.untaken > 0) + (places.unreserved > 0);
	if (room > *(volatile u32 *)&best->room) {
		best->room = room;
		best->ref = ref;
	}
}

/* The backend chosen's connections, if they are limited. */
static __always_inline struct connections *limits_of(const struct choice *c)
{
	return LB_LIMITS && c->backend->is_limited ? connections_of(c->ref) : NULL;
}

/* Whether the backend chosen can take one more, places that are reserved left out: one may be the client's own. */
static __always_inline bool has_place(const struct choice *c)
{
	struct connections *connections = limits_of(c);

	return !connections || places_at(connections, recent_tick()).untaken > 0;
}

/* A place at the backend chosen, for the moment until the connection is made. */
static __always_inline void take_place(const struct choice *c)
{
	struct connections *connections = limits_of(c);

	if (connections)
		reserve(connections, recent_tick());
}

/* The i-th of those to look at: each of the pool's own from anywhere on, then those of its fallback. Past the last one the row is
 * none. Both numbers are read at once, for the daemon may change them at any time. */
static __always_inline u32 member_row(const struct choice *c, u32 i)
{
	u32 counts = *(volatile u32 *)&c->home->members;
	u32 own = counts & 0xffff, others = counts >> 16;
	u32 most = LB_MEMBER_PROBES - (LB_MEMBER_PROBES - LB_OWN_PROBES) * !!others; /* without a branch: it is in a loop */
	u32 own_probes = own < most ? own : most;
	u32 at = (u32)c->hash + i;

	if (i >= own + others)
		return NO_ROW;
	return c->row * LB_MEMBERS + (i < own_probes ? at % own : own + at % others);
}

/* Whoever has room when the slot's owner has none. */
static __always_inline void consider_members(const struct choice *c, struct candidate *best)
{
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < LB_MEMBER_PROBES && *(volatile u32 *)&best->room < 2; i++) {
		u32 row = member_row(c, i);
		u32 *member = lb_members.lookup(&row);

		if (!member)
			return;
		consider(best, *(volatile u32 *)member);
	}
}

/* For a new TCP connection: the holder of what the source sent and nobody else; or the slot's owner; or who has room. */
static __always_inline bool choose_for_new(struct choice *c)
{
	backend_ref holder = assigned_to(c);
	backend_ref wanted = holder ? holder : owner_of_slot(c);
	u32 first = 0;
	struct candidate *best;

	if (choose_taker(c, wanted) && !(LB_LIMITS && c->backend->is_limited))
		return true;
	best = lb_candidates.lookup(&first);
	if (!best)
		return false;
	c->ref = 0;
	c->backend = NULL;
	best->room = 0;
	consider(best, wanted);
	if (!holder)
		consider_members(c, best);
	return best->room && choose_taker(c, best->ref);
}

/* For what is no new connection, or none that a limit counts. In mid-stream the holder is right whatever its state. */
static __always_inline bool choose_unlimited(struct choice *c, bool is_new)
{
	backend_ref holder = assigned_to(c);

	if (!holder)
		return choose_taker(c, owner_of_slot(c));
	return choose_taker(c, holder) || (!is_new && c->backend);
}

/* What a new connection gets that nobody takes. */
static __always_inline enum lb_reason nobody_for(const struct choice *c)
{
	return c->home->on_empty == LB_ON_EMPTY_DROP ? LB_NO_BACKEND : LB_EMPTY;
}

#endif
