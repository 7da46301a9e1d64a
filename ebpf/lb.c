// SPDX-License-Identifier: GPL-2.0-or-later
/* lb.c: the way of one packet through the director: parse, admit, choose, rewrite, out.
 *
 * Clients send to a VIP; this program picks the real server once for each connection and rewrites the two MAC addresses.
 * The server has the VIP on its loopback and answers the client directly. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "answer.h"
#include "arp.h"
#include "assign.h"
#include "budget.h"
#include "choice.h"
#include "claim.h"
#include "features.h"
#include "flow.h"
#include "fragment.h"
#include "half_open.h"
#include "handshake.h"
#include "hash.h"
#include "icmp.h"
#include "interface.h"
#include "ipv6.h"
#include "limit.h"
#include "maps.h"
#include "ndp.h"
#include "packet.h"
#include "recent.h"
#include "refuse.h"
#include "rewrite.h"
#include "select.h"
#include "service.h"
#include "stats.h"
#include "table.h"
#include "types.h"
#include "watch.h"

/* A connection that we have not seen: nothing but a half-open entry is written for its SYN. */
static __always_inline enum lb_reason open_tcp(struct choice *c)
{
	/* A SYN sent again goes where the first one went, while that backend takes new connections. */
	c->is_repeated = choose_by_half_open(c) && c->backend->state == LB_BACKEND_UP && has_place(c);
	if (!c->is_repeated && !choose_for_new(c))
		return nobody_for(c);
	time_syn(c);
	if (c->is_repeated && LB_LIMITS && c->backend->is_limited)
		return LB_SYN; /* its entry says in which tick its place was reserved */
	take_place(c);
	remember_half_open(c);
	return LB_SYN;
}

enum entering {
	ENTERED,
	FOUND,   /* another CPU entered it in this very moment: that one counts */
	NOWHERE, /* the table is full */
};

static __always_inline enum entering enter_flow(struct choice *c, struct flow *fresh)
{
	struct flow *entered;

	if (!insert_tcp(c, fresh))
		return ENTERED;
	entered = find_tcp(c);
	return entered && choose_by_flow(c, entered) ? FOUND : NOWHERE;
}

/* The handshake's last packet: the connection is made, unless its backend is full by now, or another holds what the source
 * sends. The server has accepted nothing yet. */
static __always_inline enum lb_reason complete_tcp(struct choice *c, struct flow *fresh)
{
	enum entering entering;

	if (!may_hold(c))
		return nobody_for(c);
	if (!take_token(c->service, LB_HANDSHAKES, HANDSHAKES_A_SECOND))
		return LB_OVER_BUDGET;
	entering = enter_flow(c, fresh);
	if (entering == ENTERED && fresh->state == LB_FLOW_OPEN && !join(c->ref, c->backend->is_limited)) {
		delete_tcp(c);
		return nobody_for(c);
	}
	assign(c);
	time_completed(c);
	if (entering == NOWHERE) {
		remember_half_open(c); /* it goes on to say where the connection went; no limit counts it */
		return LB_UNTRACKED;
	}
	forget_half_open(c);
	return LB_FIRST_ACK;
}

/* A connection in mid-stream that has no flow: it may be anybody's, and it may be alive. */
static __always_inline enum lb_reason pick_up_tcp(struct choice *c, struct flow *fresh)
{
	enum entering entering;

	if (!take_token(c->service, LB_PICK_UPS, PICK_UPS_A_SECOND))
		return LB_OVER_BUDGET;
	entering = enter_flow(c, fresh);
	if (entering == NOWHERE)
		return LB_UNTRACKED;
	if (entering == ENTERED && fresh->state == LB_FLOW_OPEN)
		join(c->ref, false);
	return LB_PICKED_UP;
}

/* A packet of a connection that has no flow. */
static __always_inline enum lb_reason enter_tcp(const struct packet *pkt, const struct tcphdr *tcp, struct choice *c)
{
	bool is_handshake = choose_by_half_open(c);
	struct flow fresh;

	if (!is_handshake && !choose_unlimited(c, false))
		return LB_NO_BACKEND;
	if (c->backend->state >= LB_BACKEND_DEAD && !is_end_for(tcp, c->backend))
		return LB_DEAD;
	if (tcp->rst) /* a last packet: there is nothing to enter */
		return LB_UNTRACKED;
	if (!tcp->ack) /* neither begins, ends nor acknowledges: a scan (RFC 9293 section 3.10.7.4) */
		return LB_MALFORMED;
	fresh = new_tcp_flow(c, tcp, pkt);
	return is_handshake ? complete_tcp(c, &fresh) : pick_up_tcp(c, &fresh);
}

/* Whether the packet has a flow that it belongs to. One that it must not follow ends here: that of an earlier connection from
 * the same ports (modalities reuse them), or to a backend that is gone. */
static __always_inline bool follow_flow(const struct tcphdr *tcp, struct choice *c, struct flow *flow)
{
	bool is_known = choose_by_flow(c, flow);

	if (is_known && (!is_syn(tcp) || may_reuse(flow, c->backend)))
		return true;
	if (is_known && flow->state == LB_FLOW_OPEN)
		leave(c->ref);
	delete_tcp(c);
	return false;
}

static __always_inline enum lb_reason balance_tcp(const struct packet *pkt, struct choice *c)
{
	struct tcphdr *tcp = parse_transport(pkt, sizeof(*tcp));
	struct flow *flow;
	enum lb_reason reason;

	if (!tcp || has_impossible_flags(tcp) || tcp->doff < 5 || pkt->length < tcp->doff * 4)
		return LB_MALFORMED;
	set_key(c, pkt, tcp);
	flow = find_tcp(c);
	if (!flow || !follow_flow(tcp, c, flow)) {
		reason = ask_service(c, IPPROTO_TCP);
		if (reason != LB_ADMITTED)
			return reason;
		return is_syn(tcp) ? open_tcp(c) : enter_tcp(pkt, tcp, c);
	}
	if (is_syn(tcp)) {
		if (LB_SOURCES && ask_service(c, IPPROTO_TCP) == LB_DENIED) /* a new connection, after all */
			return LB_DENIED;
		if (c->backend->state == LB_BACKEND_UP) /* else it would keep alive what may be gone */
			touch(flow);
		return LB_REUSED_PORT;
	}
	if (c->backend->state >= LB_BACKEND_DEAD && !is_end_for(tcp, c->backend))
		return LB_DEAD;
	note_segment(c, flow, tcp, pkt);
	return LB_ESTABLISHED;
}

/* UDP has no connection to cut: a flow whose backend is down chooses anew. */
static __always_inline enum lb_reason new_udp(struct choice *c)
{
	enum lb_reason reason = ask_service(c, IPPROTO_UDP);
	struct flow flow;

	if (reason != LB_ADMITTED)
		return reason;
	if (!choose_unlimited(c, true))
		return nobody_for(c);
	flow = new_flow(c);
	return update_udp(c, &flow) ? LB_UNTRACKED : LB_UDP_NEW;
}

static __always_inline enum lb_reason balance_udp(const struct packet *pkt, struct choice *c)
{
	struct udphdr *udp = parse_transport(pkt, sizeof(*udp));
	struct flow *flow;

	if (!udp)
		return LB_MALFORMED;
	set_key(c, pkt, udp);
	flow = find_udp(c);
	if (!flow || !choose_by_flow(c, flow) || c->backend->state >= LB_BACKEND_DOWN)
		return new_udp(c);
	prove(flow);
	touch(flow);
	return LB_UDP_ESTABLISHED;
}

/* The last step of whatever was chosen: the only place that rewrites. */
static __always_inline enum lb_reason forward(const struct packet *pkt, const struct choice *c, struct way *way,
					      enum lb_reason reason)
{
	struct progress progress = {pkt->bytes, c->returned, c->sent};

	reason = send_to(pkt, c->backend, c->ref, way, reason);
	if (verdict_of(reason) == XDP_TX) {
		count_for_service(c->service, &progress, begins_connection(reason));
		count_for_backend(c->ref & 0xffff, &progress, reason, c->is_repeated);
	}
	return reason;
}

/* An error about a packet of a backend's goes to that backend: the client's path to it is what the error is about. */
static __always_inline enum lb_reason follow_error(const struct packet *pkt, const struct icmp_header *icmp,
						   struct choice *c)
{
	u8 protocol = parse_quoted_flow(pkt, icmp, c);
	struct flow *flow = NULL;

	if (protocol == IPPROTO_TCP)
		flow = find_tcp(c);
	else if (protocol == IPPROTO_UDP)
		flow = find_udp(c);
	if (flow && choose_by_flow(c, flow))
		return LB_ICMP_ERROR;
	if (protocol == IPPROTO_TCP && find_service(c, protocol) && choose_by_half_open(c))
		return LB_ICMP_ERROR;
	return LB_ICMP_UNKNOWN;
}

static __always_inline enum lb_reason balance_icmp(struct packet *pkt, struct choice *c)
{
	struct icmp_header *icmp = parse_transport(pkt, sizeof(*icmp));

	if (!icmp)
		return LB_MALFORMED;
	if (is_icmp_error(pkt, icmp->type))
		return follow_error(pkt, icmp, c);
	if (!is_echo_request(pkt, icmp->type) || !is_here(vip_of(pkt), pkt) || pkt->is_first_fragment)
		return LB_ICMP_UNKNOWN;
	write_echo_reply(pkt, icmp);
	c->backend = NULL;
	return LB_PING_REPLY;
}

static __always_inline bool is_own_address(const struct packet *pkt, const struct interface *own)
{
	const struct ipv6_header *ip6 = pkt->ip;
	const struct iphdr *ip4 = pkt->ip;

	if (pkt->is_ipv6)
		return is_same6(ip6->source, own->address6) && own->address6[0];
	return ip4->saddr == own->address4 && own->address4;
}

/* Only a frame that was sent to this very interface is balanced, and never one that we sent ourselves. */
static __always_inline enum lb_reason admit(struct packet *pkt)
{
	u32 row;
	struct interface *own = interface_on(pkt->lan, &row);

	if (!own)
		return LB_OTHER_LAN;
	if (mac_at(pkt->eth->h_source) == own->mac || is_own_address(pkt, own))
		return LB_LOOP_OWN;
	if (mac_at(pkt->eth->h_dest) != own->mac)
		return LB_OTHER_MAC;
	return (pkt->is_ipv6 ? parse_datagram6(pkt) : parse_datagram4(pkt)) ? LB_ADMITTED : LB_MALFORMED;
}

/* Which way a packet for a VIP is to go: the backend is in `c`, if it is to go to one. */
static __always_inline enum lb_reason choose(struct packet *pkt, struct choice *c)
{
	if (pkt->is_later_fragment)
		return choose_by_fragment(c, pkt) ? LB_FRAGMENT : LB_LOST_FRAGMENT;
	if (pkt->protocol == IPPROTO_TCP)
		return balance_tcp(pkt, c);
	if (pkt->protocol == IPPROTO_UDP)
		return balance_udp(pkt, c);
	return is_icmp(pkt) ? balance_icmp(pkt, c) : LB_NO_SERVICE;
}

static __always_inline enum lb_reason balance_vip(struct packet *pkt, struct outcome *outcome)
{
	struct choice c = {.is_ipv6 = pkt->is_ipv6};
	enum lb_reason reason = admit(pkt);

	if (reason != LB_ADMITTED)
		return reason;
	reason = choose(pkt, &c);
	outcome->service = c.service;
	outcome->transport = pkt->transport - (void *)pkt->eth;
	outcome->protocol = pkt->is_later_fragment || reason == LB_MALFORMED ? NO_TRANSPORT : pkt->protocol;
	if (verdict_of(reason) != XDP_TX || !c.backend)
		return reason;
	outcome->backend = c.ref;
	if (pkt->is_first_fragment)
		remember_fragment(pkt, c.ref);
	return forward(pkt, &c, &outcome->way, reason);
}

static __always_inline bool drops_wrong_ports(void)
{
	u32 first = 0;
	struct globals *globals = lb_globals.lookup(&first);

	return globals && globals->drops_wrong_ports;
}

/* Which answer a packet gets instead of silence, if there are not too many at once; else the reason that it came with. */
static __always_inline enum lb_reason answer_to(enum lb_reason reason)
{
	if (reason == LB_DEAD)
		return take_token(DIRECTOR, LB_RESETS, RESETS_A_SECOND) ? LB_RESET : reason;
	if (reason == LB_EMPTY)
		return take_token(DIRECTOR, LB_REFUSALS, REFUSALS_A_SECOND) ? LB_TURNED_AWAY : reason;
	if (reason == LB_NO_SERVICE && !drops_wrong_ports())
		return take_token(DIRECTOR, LB_REFUSALS, REFUSALS_A_SECOND) ? LB_WRONG_PORT : reason;
	return reason;
}

/* The filter lets a foreign address in thousands through: only a VIP's packet may be dropped, or refused. */
static __always_inline enum lb_reason dispose(struct xdp_md *ctx, const struct packet *pkt, enum lb_reason reason)
{
	enum lb_reason answer;

	if (!vip_of(pkt))
		return LB_NOT_VIP;
	answer = answer_to(reason);
	return answer != reason && refuse(ctx, pkt) ? answer : reason;
}

/* What has become of a packet whose destination the filter let through. */
static __always_inline enum lb_reason deal_with(struct xdp_md *ctx, struct packet *pkt, struct outcome *outcome)
{
	enum lb_reason reason = balance_vip(pkt, outcome);

	outcome->bytes = pkt->bytes;
	outcome->lan = pkt->lan;
	return reason < LB_FIRST_DROP ? reason : dispose(ctx, pkt, reason);
}

static __always_inline enum lb_reason balance_ipv4(struct xdp_md *ctx, struct packet *pkt,
						   struct outcome *outcome)
{
	struct iphdr *ip = parse_ipv4(pkt);

	if (!ip || !may_be_vip4(ip->daddr))
		return LB_NOT_VIP;
	pkt->bytes = from_be16(ip->tot_len);
	return deal_with(ctx, pkt, outcome);
}

static __always_inline enum lb_reason balance_ipv6(struct xdp_md *ctx, struct packet *pkt,
						   struct outcome *outcome)
{
	struct ipv6_header *ip = parse_ipv6(pkt);

	if (!ip)
		return LB_NOT_VIP;
	pkt->bytes = IPV6_HEADER + from_be16(ip->payload_length);
	return deal_with(ctx, pkt, outcome);
}

/* Most of what a NIC hears: plain IPv4 for somebody else. Where tags must be looked for, it is spared that. */
static __always_inline bool is_plain_foreign(const struct xdp_md *ctx)
{
	const struct ethhdr *eth = (void *)(long)ctx->data;
	const struct iphdr *ip = (void *)(eth + 1);

	return (void *)(ip + 1) <= (void *)(long)ctx->data_end && eth->h_proto == be16(ETH_P_IP) && !may_be_vip4(ip->daddr);
}

static __always_inline bool is_for_vip6(const struct packet *pkt)
{
	struct ipv6_header *ip = parse_ipv6(pkt);

	return ip && may_be_vip6(ip->destination);
}

/* To the program that deals with it, from which there is no return; but if there is none. */
static __always_inline void pass_on_ipv6(struct xdp_md *ctx, const struct packet *pkt)
{
	/* Not by if and else: the compiler would make one call of two, and the kernel a jump only of a constant row. */
	if (may_be_discovery(pkt))
		lb_programs.call(ctx, LB_PROGRAM_DISCOVER6);
	if (is_for_vip6(pkt))
		lb_programs.call(ctx, LB_PROGRAM_INGRESS6);
}

/* The one exit: everything that was dealt with is counted, and told to whoever watches. Foreign traffic is not ours to count,
 * nor to slow down. */
static __always_inline int leave_as(struct xdp_md *ctx, enum lb_reason reason, const struct outcome *outcome)
{
	if (reason == LB_NOT_VIP)
		return XDP_PASS;
	count_reason(reason, outcome->bytes);
	if (is_watched(reason))
		tell(ctx, reason, outcome);
	return verdict_of(reason) == XDP_TX ? send_by(ctx, &outcome->way) : verdict_of(reason);
}

static __always_inline int ingress(struct xdp_md *ctx)
{
	struct packet pkt = {};
	struct outcome outcome = {};
	enum lb_reason reason = LB_NOT_VIP;

	if (is_plain_foreign(ctx) || !parse_frame(&pkt, ctx))
		return XDP_PASS;
	if (pkt.type == be16(ETH_P_IP))
		reason = balance_ipv4(ctx, &pkt, &outcome);
	else if (pkt.type == be16(ETH_P_ARP))
		reason = answer_arp(&pkt);
	else if (LB_IPV6 && pkt.type == be16(ETH_P_IPV6))
		pass_on_ipv6(ctx, &pkt);
	return leave_as(ctx, reason, &outcome);
}

int lb_ingress(struct xdp_md *ctx)
{
	return ingress(ctx);
}

#if LB_IPV6
/* What is for an IPv6 VIP, as far as the filter can tell. */
int lb_ingress6(struct xdp_md *ctx)
{
	struct packet pkt = {.is_ipv6 = true};
	struct outcome outcome = {};

	if (!parse_frame(&pkt, ctx))
		return XDP_PASS;
	return leave_as(ctx, balance_ipv6(ctx, &pkt, &outcome), &outcome);
}

/* Neighbour discovery; and what only looks like it. */
int lb_discover6(struct xdp_md *ctx)
{
	struct packet pkt = {.is_ipv6 = true};
	struct outcome outcome = {};
	enum lb_reason reason;

	if (!parse_frame(&pkt, ctx))
		return XDP_PASS;
	reason = discover(ctx, &pkt);
	if (reason == LB_NOT_VIP && is_for_vip6(&pkt))
		lb_programs.call(ctx, LB_PROGRAM_INGRESS6);
	return leave_as(ctx, reason, &outcome);
}
#endif

/* For the daemon's test-run: the kernel's jiffies, by which flows are dated. */
int lb_clock(struct xdp_md *ctx)
{
	return (u32)bpf_jiffies64();
}
