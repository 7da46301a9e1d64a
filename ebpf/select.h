/* SPDX-License-Identifier: GPL-2.0-or-later */
/* select.h: which backend. Slots for a new connection, the half-open entry between SYN and ACK, the row behind a reference. */
#ifndef LB_SELECT_H
#define LB_SELECT_H

#include "hash.h"
#include "maps.h"
#include "recent.h"

/* A connection on its way to a backend: each step fills in what it finds. */
struct choice {
	struct flow_key4 key;
	u64 hash;
	u32 service; /* id, for the counters */
	u32 pool;
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
	c->hash = hash_of(&c->key);
	return true;
}

/* The backend that the flow has had all along. */
static __always_inline bool choose_by_flow(struct choice *c, const struct flow *flow)
{
	c->ref = flow->backend;
	c->service = flow->service;
	c->backend = backend_of(c->ref);
	return c->backend != NULL;
}

/* The owner of the flow's slot in the service's pool. */
static __always_inline bool choose_by_slot(struct choice *c)
{
	struct pool *pool = lb_pools.lookup(&c->pool);
	u64 table;
	u32 index;
	u32 *slot;

	if (!pool)
		return false;
	table = *(volatile u64 *)&pool->table;
	index = (u32)table + (u32)(((c->hash >> 32) * (table >> 32)) >> 32);
	slot = lb_slots.lookup(&index);
	if (!slot || !(table >> 32))
		return false;
	c->ref = *(volatile u32 *)slot;
	c->backend = backend_of(c->ref);
	return c->backend && c->backend->state == LB_BACKEND_UP;
}

/* The backend that the flow's SYN went to, if that is still known. What state it must be in is for the caller to say. */
static __always_inline bool choose_by_half_open(struct choice *c)
{
	u32 index = (u32)c->hash & (LB_HALF_OPENS - 1);
	u64 *entry = lb_half_opens.lookup(&index);

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

	if (entry)
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
