/* SPDX-License-Identifier: GPL-2.0-or-later */
/* select.h: which backend. Assignments and slots for a new connection, the half-open entry between SYN and ACK, the row behind a
 * reference. */
#ifndef LB_SELECT_H
#define LB_SELECT_H

#include "hash.h"
#include "limit.h"
#include "maps.h"
#include "recent.h"

#define NO_ROW 0xffffffffU

/* A connection on its way to a backend: each step fills in what it finds. */
struct choice {
	struct flow_key4 key;
	u64 hash;
	u32 service; /* id, for the counters */
	u32 pool;
	struct pool *home; /* the service's own pool */
	backend_ref ref;
	struct backend *backend;
};

static __always_inline bool is_live(const struct backend *backend, backend_ref ref)
{
	return backend->state != LB_BACKEND_ABSENT && backend->link >> 48 == ref >> 16;
}

/* The row that a reference means, or NULL if the id was given to another server since. */
static __always_inline struct backend *backend_of(backend_ref ref)
{
	u32 id = ref & 0xffff;
	struct backend *backend = lb_backends.lookup(&id);

	return backend && is_live(backend, ref) ? backend : NULL;
}

static __always_inline u64 hash_of(const struct flow_key4 *key)
{
	u32 first = 0;
	struct globals *globals = lb_globals.lookup(&first);

	return hash_flow(key, globals ? globals->seed : 0);
}

static __always_inline struct service *service_of(u64 key)
{
	u32 home = hash_service(key);

#pragma unroll
	for (u32 probe = 0; probe < LB_SERVICE_PROBES; probe++) {
		u32 row = (home + probe) & (LB_SERVICES - 1);
		struct service *service = lb_services.lookup(&row);

		if (service && service->key == key)
			return service;
	}
	return NULL;
}

/* The service that the packet asks for; then the flow's hash, which every choice for it needs. */
static __always_inline bool find_service(struct choice *c, u8 protocol)
{
	u64 key = (u64)protocol << 48 | (u64)c->key.vip_port << 32 | c->key.vip;
	struct service *service = service_of(key);

	if (!service)
		return false;
	c->service = service->id;
	c->pool = service->pool;
	c->home = lb_pools.lookup(&c->pool);
	c->hash = hash_of(&c->key);
	return c->home != NULL;
}

/* The backend that the flow has had all along. */
static __always_inline bool choose_by_flow(struct choice *c, const struct flow *flow)
{
	c->ref = flow->backend;
	c->service = flow->service;
	c->backend = backend_of(c->ref);
	return c->backend != NULL;
}

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
	u32 first = 0;
	struct globals *globals;

	if (!c->home->is_private)
		return c->hash >> 32;
	globals = lb_globals.lookup(&first);
	return hash_source(c->key.client, globals ? globals->seed : 0);
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
	if (room > best->room) {
		best->room = room;
		best->ref = ref;
	}
}

/* The backend chosen's connections, if they are limited. */
static __always_inline struct connections *limits_of(const struct choice *c)
{
	return c->backend->is_limited ? connections_of(c->ref) : NULL;
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
	return c->pool * LB_MEMBERS + (i < own_probes ? at % own : own + at % others);
}

/* Whoever has room when the slot's owner has none. */
static __always_inline void consider_members(const struct choice *c, struct candidate *best)
{
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < LB_MEMBER_PROBES && best->room < 2; i++) {
		u32 row = member_row(c, i);
		u32 *member = lb_members.lookup(&row);

		if (!member)
			return;
		consider(best, *(volatile u32 *)member);
	}
}

/* Who holds what the source sends, or 0: it has sent nothing yet, or the holder is no more. */
static __always_inline backend_ref assigned_to(const struct choice *c)
{
	struct assignment_key key = {c->key.client, c->pool};
	u32 *ref = c->home->is_private ? lb_assignments.lookup(&key) : NULL;

	return ref && (*ref == LB_NOBODY_ELSE || backend_of(*ref)) ? *ref : 0;
}

/* For a new TCP connection: the holder of what the source sent and nobody else; or the slot's owner; or who has room. */
static __always_inline bool choose_for_new(struct choice *c)
{
	backend_ref holder = assigned_to(c);
	backend_ref wanted = holder ? holder : owner_of_slot(c);
	u32 first = 0;
	struct candidate *best;

	if (choose_taker(c, wanted) && !c->backend->is_limited)
		return true;
	best = lb_candidates.lookup(&first);
	if (!best)
		return false;
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

/* Two first connections of one source may have begun on either side of a re-weighting: the first one made decides. */
static __always_inline bool may_hold(const struct choice *c)
{
	backend_ref holder = assigned_to(c);

	return !holder || holder == c->ref;
}

/* The source sent its first packet to a server that will hold what it sends; one that has a holder keeps it. */
static __always_inline void assign(const struct choice *c)
{
	struct assignment_key key = {c->key.client, c->pool};
	u32 ref = c->ref;

	if (c->home->is_private && !assigned_to(c))
		lb_assignments.update(&key, &ref);
}

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
	if (c->backend->is_limited)
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
