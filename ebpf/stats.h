/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stats.h: counters. All are per CPU and written without atomics: an XDP program is not preempted by itself. */
#ifndef LB_STATS_H
#define LB_STATS_H

#include "maps.h"
#include "packet.h"

static __always_inline int verdict_of(enum lb_reason reason)
{
	if (reason < LB_FIRST_TX)
		return XDP_PASS;
	return reason < LB_FIRST_DROP ? XDP_TX : XDP_DROP;
}

static __always_inline void count_reason(enum lb_reason reason, u32 bytes)
{
	u32 index = reason;
	struct counter *counter = lb_reasons.lookup(&index);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

/* A connection counts when its client completed the handshake, so that a SYN flood makes none; one from reused ports counts
 * at its SYN, for its flow is there already. */
static __always_inline bool begins_connection(enum lb_reason reason)
{
	return reason == LB_FIRST_ACK || reason == LB_REUSED_PORT || reason == LB_UDP_NEW;
}

static __always_inline void count_forwarded(u32 service, u32 backend, u32 bytes, bool begins)
{
	struct service_stats *to_service = lb_service_stats.lookup(&service);
	struct backend_stats *to_backend = lb_backend_stats.lookup(&backend);

	if (to_service) {
		to_service->packets++;
		to_service->bytes += bytes;
		to_service->connections += begins;
	}
	if (to_backend) {
		to_backend->packets++;
		to_backend->bytes += bytes;
		to_backend->connections += begins;
	}
}

static __always_inline void count_returned(u32 backend)
{
	struct backend_stats *stats = lb_backend_stats.lookup(&backend);

	if (stats)
		stats->returned++;
}

#endif
