/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stats.h: counters. All are per CPU and written without atomics: an XDP program is not preempted by itself. */
#ifndef LB_STATS_H
#define LB_STATS_H

#include "maps.h"

/* What one packet adds to the counters of its service and of its backend. */
struct progress {
	u32 bytes;    /* of the datagram */
	u32 returned; /* see struct service_stats */
	u32 sent;
};

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

static __always_inline void count_for_service(u32 service, const struct progress *progress, bool begins)
{
	struct service_stats *stats = lb_service_stats.lookup(&service);

	if (!stats)
		return;
	stats->packets++;
	stats->bytes += progress->bytes;
	stats->connections += begins;
	stats->returned += progress->returned;
	stats->sent += progress->sent;
}

static __always_inline void count_for_backend(u32 backend, const struct progress *progress, enum lb_reason reason,
					      bool is_repeated)
{
	struct backend_stats *stats = lb_backend_stats.lookup(&backend);

	if (!stats)
		return;
	stats->packets++;
	stats->bytes += progress->bytes;
	stats->returned += progress->returned;
	stats->sent += progress->sent;
	stats->connections += begins_connection(reason);
	if (reason == LB_SYN) {
		stats->begun += !is_repeated;
		stats->repeated += is_repeated;
	}
	if (reason == LB_FIRST_ACK)
		stats->completed++;
}

static __always_inline void count_denied(u32 service)
{
	struct service_stats *stats = lb_service_stats.lookup(&service);

	if (stats)
		stats->denied++;
}

static __always_inline void count_looped(u32 backend)
{
	struct backend_stats *stats = lb_backend_stats.lookup(&backend);

	if (stats)
		stats->looped++;
}

#endif
