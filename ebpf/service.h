/* SPDX-License-Identifier: GPL-2.0-or-later */
/* service.h: which service a packet without flow asks for, whether its source may, and among whom it is shared. */
#ifndef LB_SERVICE_H
#define LB_SERVICE_H

#include "choice.h"
#include "features.h"
#include "stats.h"

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

/* Which service the key means, as one word; 0: none. */
static __always_inline u64 service_key(const struct choice *c, u8 protocol)
{
	struct vip *vip;

	if (!c->is_ipv6)
		return (u64)protocol << 48 | (u64)c->key4.vip_port << 32 | c->key4.vip;
	vip = lb_vips6.lookup((struct address6 *)c->key6.vip);
	return vip ? (u64)6 << 56 | (u64)protocol << 48 | (u64)c->key6.vip_port << 32 | vip->number : 0;
}

/* The service that the packet asks for; then the flow's hash, which every choice for it needs. */
static __always_inline bool find_service(struct choice *c, u8 protocol)
{
	u64 key = service_key(c, protocol);
	struct service *service = key ? service_of(key) : NULL;

	if (!service)
		return false;
	c->service = service->id;
	c->sources = service->sources;
	c->pool = c->row = service->pool;
	c->hash = hash_of(c);
	return true;
}

static __always_inline struct source *source_of(const struct choice *c)
{
	if (c->is_ipv6) {
		struct source_key6 key = {.prefix = 32 + 128, .list = __builtin_bswap32(c->sources)};

		__builtin_memcpy(key.address, c->key6.client, sizeof(key.address));
		return lb_sources6.lookup(&key);
	}
	struct source_key4 key = {32 + 32, __builtin_bswap32(c->sources), c->key4.client};

	return lb_sources4.lookup(&key);
}

/* Whether the source may come, and among whom its connections are shared. */
static __always_inline enum lb_reason enter_pool(struct choice *c)
{
	if (LB_SOURCES && c->sources) {
		struct source *source = source_of(c);

		if (!source) {
			count_denied(c->service);
			return LB_DENIED;
		}
		if (source->pool)
			c->row = source->pool;
	}
	c->home = lb_pools.lookup(&c->row);
	return c->home ? LB_ADMITTED : LB_NO_SERVICE;
}

/* For a packet without flow: the service that it asks for, if it may. */
static __always_inline enum lb_reason ask_service(struct choice *c, u8 protocol)
{
	return find_service(c, protocol) ? enter_pool(c) : LB_NO_SERVICE;
}

#endif
