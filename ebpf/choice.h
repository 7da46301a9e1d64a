/* SPDX-License-Identifier: GPL-2.0-or-later */
/* choice.h: what is known of a connection on its way to a backend, and the row behind a reference. */
#ifndef LB_CHOICE_H
#define LB_CHOICE_H

#include "hash.h"
#include "maps.h"

/* A connection on its way to a backend: each step fills in what it finds. */
struct choice {
	union {
		struct flow_key4 key4;
		struct flow_key6 key6;
	};
	bool is_ipv6; /* which of them; a constant of each program */
	bool is_repeated; /* a SYN that was seen before */
	u64 hash;
	u32 service; /* id, for the counters */
	u32 sources; /* which list says who may come */
	u32 pool;    /* the service's own */
	u32 row;     /* the row of lb_pools that shares it: the pool's, or that of a class of its connections */
	struct pool *home; /* what stands in that row */
	backend_ref ref;
	struct backend *backend;
	u32 returned; /* bytes that the client acknowledges by this packet, and that it sends */
	u32 sent;
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

static __always_inline u64 flow_seed(void)
{
	u32 first = 0;
	struct globals *globals = lb_globals.lookup(&first);

	return globals ? globals->seed : 0;
}

static __always_inline u64 hash_of(const struct choice *c)
{
	return c->is_ipv6 ? hash_flow6(&c->key6, flow_seed()) : hash_flow4(&c->key4, flow_seed());
}

/* The backend that the flow has had all along. */
static __always_inline bool choose_by_flow(struct choice *c, const struct flow *flow)
{
	c->ref = flow->backend;
	c->service = flow->service;
	c->backend = backend_of(c->ref);
	return c->backend != NULL;
}

#endif
