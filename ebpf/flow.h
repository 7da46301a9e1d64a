/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flow.h: the life of a flow entry: looked at, touched, entered. The daemon's sweep ends it. */
#ifndef LB_FLOW_H
#define LB_FLOW_H

#include "maps.h"
#include "select.h"

static __always_inline bool is_syn(const struct tcphdr *tcp)
{
	return tcp->syn;
}

/* Flags that no stack sends together with SYN. */
static __always_inline bool has_impossible_flags(const struct tcphdr *tcp)
{
	return tcp->syn && (tcp->ack || tcp->fin || tcp->rst);
}

static __always_inline void touch(struct flow *flow)
{
	u32 now = (u32)bpf_jiffies64();

	if (flow->last_seen != now) /* spares the cache line of a busy flow */
		flow->last_seen = now;
}

/* FIN and RST shorten the idle limit, neither deletes: the peer may not have seen them. Traffic after a RST shows that it
 * was not meant, or not sent, by the client. */
static __always_inline void follow_tcp_state(struct flow *flow, const struct tcphdr *tcp)
{
	if (tcp->rst)
		flow->state = LB_FLOW_RESET;
	else if (tcp->fin)
		flow->state = LB_FLOW_CLOSING;
	else if (flow->state == LB_FLOW_RESET)
		flow->state = LB_FLOW_OPEN;
}

/* A SYN from the ports of an earlier connection (modalities reuse them) stays with its backend while that one is up, or
 * draining with the earlier connection still open. */
static __always_inline bool may_reuse(const struct flow *flow, const struct backend *backend)
{
	if (backend->state == LB_BACKEND_UP)
		return true;
	return backend->state == LB_BACKEND_DRAINING && flow->state == LB_FLOW_OPEN;
}

/* Each packet of a live connection leaves the time and the acknowledgement that it was seen with. */
static __always_inline void note_segment(struct flow *flow, const struct tcphdr *tcp)
{
	follow_tcp_state(flow, tcp);
	if (tcp->ack)
		flow->acked = tcp->ack_seq;
	touch(flow);
}

static __always_inline struct flow new_flow(const struct choice *c)
{
	struct flow flow = {
		.backend = c->ref,
		.last_seen = (u32)bpf_jiffies64(),
		.service = c->service,
		.state = LB_FLOW_OPEN,
	};

	return flow;
}

#endif
