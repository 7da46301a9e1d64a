/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flow.h: the life of a flow entry: looked at, touched, entered. The daemon's sweep ends it. */
#ifndef LB_FLOW_H
#define LB_FLOW_H

#include "maps.h"
#include "choice.h"
#include "limit.h"
#include "packet.h"

#define LARGEST_WINDOW (1U << 24) /* more than anybody has under way in a hospital */

static __always_inline bool is_syn(const struct tcphdr *tcp)
{
	return tcp->syn;
}

/* Flags that no stack sends together with SYN. */
static __always_inline bool has_impossible_flags(const struct tcphdr *tcp)
{
	return tcp->syn && (tcp->ack || tcp->fin || tcp->rst);
}

/* Another packet came: nobody spoofed just one. */
static __always_inline void prove(struct flow *flow)
{
	if (flow->is_unproven)
		flow->is_unproven = 0;
}

static __always_inline void touch(struct flow *flow)
{
	u32 now = (u32)bpf_jiffies64();

	if (flow->last_seen != now) /* spares the cache line of a busy flow */
		flow->last_seen = now;
}

/* FIN and RST shorten the idle limit, neither deletes: the peer may not have seen them. Traffic after a RST shows that it
 * was not meant, or not sent, by the client. */
static __always_inline u8 state_after(const struct tcphdr *tcp, u8 state)
{
	if (tcp->rst)
		return LB_FLOW_RESET;
	if (tcp->fin)
		return LB_FLOW_CLOSING;
	return state == LB_FLOW_RESET ? LB_FLOW_OPEN : state;
}

/* Only what ends a connection still goes to a server that is halted. */
static __always_inline bool is_end_for(const struct tcphdr *tcp, const struct backend *backend)
{
	return tcp->rst && backend->state == LB_BACKEND_HALTED;
}

/* What is open counts as one of its backend's connections. */
static __always_inline void set_state(struct flow *flow, u8 state)
{
	u8 before = flow->state;

	flow->state = state;
	if (before == LB_FLOW_OPEN)
		leave(flow->backend);
	else if (state == LB_FLOW_OPEN)
		join(flow->backend, false);
}

/* What the client sends after this segment. */
static __always_inline u32 next_after(const struct tcphdr *tcp, const struct packet *pkt)
{
	return __builtin_bswap32(tcp->seq) + segment_length(tcp, pkt);
}

/* Moves a position on, and returns by how much. What is a little behind was sent again, or overtaken. What is elsewhere
 * altogether is another connection's numbering: the position goes there, and so does its origin, for nothing was transferred. */
static __always_inline u32 advance(u32 *position, u32 *first, u16 *wraps, u32 to)
{
	u32 by = to - *position;

	if (!by || -by <= LARGEST_WINDOW)
		return 0;
	*position = to;
	if (by > LARGEST_WINDOW) {
		*first += by;
		return 0;
	}
	if (to - *first < by)
		(*wraps)++;
	return by;
}

/* A SYN from the ports of a connection that is open: sent again, or its client has crashed. It stays with its backend, for
 * anybody may have sent it in the client's name; one that is down is given up. */
static __always_inline bool may_reuse(const struct flow *flow, const struct backend *backend)
{
	return flow->state == LB_FLOW_OPEN && backend->state <= LB_BACKEND_DRAINING;
}

/* Whether an end stands where the client has got to, give or take what may be under way: one from elsewhere is not the client's
 * own, and the server will not believe it either (RFC 5961). */
static __always_inline bool is_in_place(const struct flow *flow, const struct tcphdr *tcp)
{
	return __builtin_bswap32(tcp->seq) - flow->next + LARGEST_WINDOW <= 2 * LARGEST_WINDOW;
}

/* Each packet of a live connection leaves the time that it was seen at, and how far both ends have come. */
static __always_inline void note_segment(struct choice *c, struct flow *flow, const struct tcphdr *tcp,
					 const struct packet *pkt)
{
	u8 state = state_after(tcp, flow->state);

	if ((tcp->rst || tcp->fin) && !is_in_place(flow, tcp))
		return; /* it is passed on for the server to judge, and nothing is learnt from it */
	if (state != flow->state)
		set_state(flow, state);
	c->sent = advance(&flow->next, &flow->first_next, &flow->next_wraps, next_after(tcp, pkt));
	if (tcp->ack)
		c->returned = advance(&flow->acked, &flow->first_acked, &flow->acked_wraps, __builtin_bswap32(tcp->ack_seq));
	prove(flow);
	touch(flow);
}

static __always_inline struct flow new_flow(const struct choice *c)
{
	struct flow flow = {
		.backend = c->ref,
		.last_seen = (u32)bpf_jiffies64(),
		.service = c->service,
		.state = LB_FLOW_OPEN,
		.is_unproven = 1,
	};

	return flow;
}

static __always_inline struct flow new_tcp_flow(struct choice *c, const struct tcphdr *tcp, const struct packet *pkt)
{
	struct flow flow = new_flow(c);

	flow.state = state_after(tcp, LB_FLOW_OPEN); /* a FIN in mid-stream leaves little to come */
	flow.first_next = __builtin_bswap32(tcp->seq);
	flow.next = next_after(tcp, pkt);
	flow.acked = flow.first_acked = __builtin_bswap32(tcp->ack_seq);
	c->sent = flow.next - flow.first_next;
	return flow;
}

#endif
