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

#include "arp.h"
#include "budget.h"
#include "flow.h"
#include "fragment.h"
#include "hash.h"
#include "icmp.h"
#include "limit.h"
#include "maps.h"
#include "packet.h"
#include "recent.h"
#include "refuse.h"
#include "rewrite.h"
#include "select.h"
#include "stats.h"
#include "types.h"

static __always_inline struct interface *own_interface(const struct packet *pkt)
{
	u32 index = pkt->ifindex & (LB_INTERFACES - 1);
	struct interface *interface = lb_interfaces.lookup(&index);

	return interface && interface->ifindex == pkt->ifindex ? interface : NULL;
}

static __always_inline bool may_be_vip(__be32 address)
{
	u32 bit = hash_address(address);
	u32 word = bit >> 6;
	u64 *filter = lb_vip_filter.lookup(&word);

	return filter && *filter >> (bit & 63) & 1;
}

static __always_inline bool is_vip(__be32 address)
{
	return lb_vips.lookup(&address) != NULL;
}

/* A connection that we have not seen: nothing but a half-open entry is written for its SYN. */
static __always_inline enum lb_reason open_tcp(struct choice *c)
{
	/* A SYN sent again goes where the first one went, while that backend takes new connections. */
	bool is_repeated = choose_by_half_open(c) && c->backend->state == LB_BACKEND_UP && has_place(c);

	if (is_repeated && c->backend->is_limited)
		return LB_SYN; /* its entry says in which tick its place was reserved */
	if (!is_repeated && !choose_for_new(c))
		return nobody_for(c);
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

	if (!lb_flows_tcp4.insert(&c->key, fresh))
		return ENTERED;
	entered = lb_flows_tcp4.lookup(&c->key);
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
		lb_flows_tcp4.delete(&c->key);
		return nobody_for(c);
	}
	assign(c);
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
static __always_inline enum lb_reason enter_tcp(const struct iphdr *ip, const struct tcphdr *tcp, struct choice *c)
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
	fresh = new_tcp_flow(c, tcp, ip);
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
	lb_flows_tcp4.delete(&c->key);
	return false;
}

static __always_inline enum lb_reason balance_tcp(const struct packet *pkt, const struct iphdr *ip, struct choice *c)
{
	struct tcphdr *tcp = parse_transport(pkt, ip, sizeof(*tcp));
	struct flow *flow;

	if (!tcp || has_impossible_flags(tcp))
		return LB_MALFORMED;
	c->key = (struct flow_key4){ip->saddr, ip->daddr, tcp->source, tcp->dest};
	flow = lb_flows_tcp4.lookup(&c->key);
	if (!flow || !follow_flow(tcp, c, flow)) {
		if (!find_service(c, IPPROTO_TCP))
			return LB_NO_SERVICE;
		return is_syn(tcp) ? open_tcp(c) : enter_tcp(ip, tcp, c);
	}
	if (is_syn(tcp)) {
		if (c->backend->state == LB_BACKEND_UP) /* else it would keep alive what may be gone */
			touch(flow);
		return LB_REUSED_PORT;
	}
	if (c->backend->state >= LB_BACKEND_DEAD && !is_end_for(tcp, c->backend))
		return LB_DEAD;
	note_segment(flow, tcp, ip);
	return LB_ESTABLISHED;
}

/* UDP has no connection to cut: a flow whose backend is down chooses anew. */
static __always_inline enum lb_reason new_udp(struct choice *c)
{
	struct flow flow;

	if (!find_service(c, IPPROTO_UDP))
		return LB_NO_SERVICE;
	if (!choose_unlimited(c, true))
		return nobody_for(c);
	flow = new_flow(c);
	return lb_flows_udp4.update(&c->key, &flow) ? LB_UNTRACKED : LB_UDP_NEW;
}

static __always_inline enum lb_reason balance_udp(const struct packet *pkt, const struct iphdr *ip, struct choice *c)
{
	struct udphdr *udp = parse_transport(pkt, ip, sizeof(*udp));
	struct flow *flow;

	if (!udp)
		return LB_MALFORMED;
	c->key = (struct flow_key4){ip->saddr, ip->daddr, udp->source, udp->dest};
	flow = lb_flows_udp4.lookup(&c->key);
	if (!flow || !choose_by_flow(c, flow) || c->backend->state >= LB_BACKEND_DOWN)
		return new_udp(c);
	prove(flow);
	touch(flow);
	return LB_UDP_ESTABLISHED;
}

/* The last step of whatever was chosen: the only place that rewrites. */
static __always_inline enum lb_reason forward(const struct packet *pkt, const struct iphdr *ip, const struct choice *c,
					      enum lb_reason reason)
{
	reason = send_to(pkt, c->backend, c->ref, reason);
	if (verdict_of(reason) == XDP_TX)
		count_forwarded(c->service, c->ref & 0xffff, from_be16(ip->tot_len), begins_connection(reason));
	return reason;
}

/* An error about a packet of a backend's goes to that backend: the client's path to it is what the error is about. */
static __always_inline enum lb_reason follow_error(const struct packet *pkt, const struct iphdr *ip,
						   const struct icmp_header *icmp, struct choice *c)
{
	u8 protocol = parse_quoted_flow(pkt, ip, icmp, &c->key);
	struct flow *flow = NULL;

	if (protocol == IPPROTO_TCP)
		flow = lb_flows_tcp4.lookup(&c->key);
	else if (protocol == IPPROTO_UDP)
		flow = lb_flows_udp4.lookup(&c->key);
	if (flow && choose_by_flow(c, flow))
		return LB_ICMP_ERROR;
	if (protocol == IPPROTO_TCP && find_service(c, protocol) && choose_by_half_open(c))
		return LB_ICMP_ERROR;
	return LB_ICMP_UNKNOWN;
}

static __always_inline enum lb_reason balance_icmp(const struct packet *pkt, struct iphdr *ip, struct choice *c)
{
	struct icmp_header *icmp = parse_transport(pkt, ip, sizeof(*icmp));
	struct vip *vip = lb_vips.lookup(&ip->daddr);

	if (!icmp)
		return LB_MALFORMED;
	if (is_icmp_error(icmp->type))
		return follow_error(pkt, ip, icmp, c);
	if (icmp->type != ICMP_ECHO_REQUEST || !vip || vip->ifindex != pkt->ifindex || is_first_fragment(ip))
		return LB_ICMP_UNKNOWN;
	write_echo_reply(pkt, ip, icmp);
	c->backend = NULL;
	return LB_PING_REPLY;
}

/* Only a frame that was sent to this very interface is balanced, and never one that we sent ourselves. */
static __always_inline enum lb_reason admit(const struct packet *pkt, const struct iphdr *ip)
{
	struct interface *own = own_interface(pkt);

	if (!own)
		return LB_OTHER_MAC;
	if (mac_at(pkt->eth->h_source) == own->mac || ip->saddr == own->address)
		return LB_LOOP_OWN;
	if (mac_at(pkt->eth->h_dest) != own->mac)
		return LB_OTHER_MAC;
	return is_sane_ipv4(ip) ? LB_ADMITTED : LB_MALFORMED;
}

/* Which way a packet for a VIP is to go: the backend is in `c`, if it is to go to one. */
static __always_inline enum lb_reason choose(const struct packet *pkt, struct iphdr *ip, struct choice *c)
{
	if (is_later_fragment(ip))
		return choose_by_fragment(c, ip) ? LB_FRAGMENT : LB_LOST_FRAGMENT;
	if (ip->protocol == IPPROTO_TCP)
		return balance_tcp(pkt, ip, c);
	if (ip->protocol == IPPROTO_UDP)
		return balance_udp(pkt, ip, c);
	return ip->protocol == IPPROTO_ICMP ? balance_icmp(pkt, ip, c) : LB_NO_SERVICE;
}

static __always_inline enum lb_reason balance_vip(const struct packet *pkt, struct iphdr *ip)
{
	enum lb_reason reason = admit(pkt, ip);
	struct choice c = {};

	if (reason != LB_ADMITTED)
		return reason;
	reason = choose(pkt, ip, &c);
	if (verdict_of(reason) != XDP_TX || !c.backend)
		return reason;
	if (is_first_fragment(ip))
		remember_fragment(ip, c.ref);
	return forward(pkt, ip, &c, reason);
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
static __always_inline enum lb_reason dispose(struct xdp_md *ctx, const struct packet *pkt, const struct iphdr *ip,
					      enum lb_reason reason)
{
	enum lb_reason answer;

	if (!is_vip(ip->daddr))
		return LB_NOT_VIP;
	answer = answer_to(reason);
	return answer != reason && refuse(ctx, pkt, ip) ? answer : reason;
}

static __always_inline enum lb_reason balance_ipv4(struct xdp_md *ctx, const struct packet *pkt, u32 *bytes)
{
	struct iphdr *ip = parse_ipv4(pkt);
	enum lb_reason reason;

	if (!ip || !may_be_vip(ip->daddr))
		return LB_NOT_VIP;
	*bytes = from_be16(ip->tot_len);
	reason = balance_vip(pkt, ip);
	return reason < LB_FIRST_DROP ? reason : dispose(ctx, pkt, ip, reason);
}

static __always_inline enum lb_reason answer_arp(const struct packet *pkt)
{
	struct arp4 *arp = (void *)(pkt->eth + 1);
	struct interface *own = own_interface(pkt);
	__be32 target;
	struct vip *vip;

	if ((void *)(arp + 1) > pkt->end || !is_request4(arp) || !own || !is_for_us(pkt, own->mac))
		return LB_NOT_VIP;
	target = arp->target_ip;
	vip = lb_vips.lookup(&target);
	if (!vip || vip->ifindex != pkt->ifindex)
		return LB_NOT_VIP;
	if (mac_at(pkt->eth->h_source) == own->mac)
		return LB_LOOP_OWN;
	write_reply(pkt, arp, own->mac);
	return LB_ARP_REPLY;
}

static __always_inline enum lb_reason balance(struct xdp_md *ctx, u32 *bytes)
{
	struct packet pkt = {.end = (void *)(long)ctx->data_end, .ifindex = ctx->ingress_ifindex};

	pkt.eth = parse_ethernet(&pkt, (void *)(long)ctx->data);
	if (!pkt.eth)
		return LB_NOT_VIP;
	if (pkt.eth->h_proto == be16(ETH_P_IP))
		return balance_ipv4(ctx, &pkt, bytes);
	if (pkt.eth->h_proto == be16(ETH_P_ARP))
		return answer_arp(&pkt);
	return LB_NOT_VIP;
}

static __always_inline int ingress(struct xdp_md *ctx)
{
	u32 bytes = 0;
	enum lb_reason reason = balance(ctx, &bytes);

	if (reason != LB_NOT_VIP) /* foreign traffic is not ours to count, nor to slow down */
		count_reason(reason, bytes);
	return verdict_of(reason);
}

int lb_ingress(struct xdp_md *ctx)
{
	return ingress(ctx);
}

/* For the daemon's test-run: the kernel's jiffies, by which flows are dated. */
int lb_clock(struct xdp_md *ctx)
{
	return (u32)bpf_jiffies64();
}
