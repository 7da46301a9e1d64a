// SPDX-License-Identifier: GPL-2.0-or-later
/* spoofer.c: a flood out of one frame. Each repeat of a test-run makes the next segment of the next connection that nobody
 * ever opened, and hands it to the program under test by a tail call, or sends it.
 *
 * The kernel's test-run does not reset the frame between repeats: the MACs are put back here, and the checksums follow
 * what is exchanged (RFC 1624), so that a frame that was sound stays sound. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include "../../ebpf/packet.h"

#define FIRST_ADDRESS 0x0b000000U /* 11.0.0.0, and 2^26 addresses from there on */
#define FIRST_PORT 32768
#define PORT_BITS 6

/* What is sent, and how far it has got. tests/packets/spoofer.py holds its twin. */
struct script {
	u64 own_mac;    /* where to, six bytes as they stand in a frame */
	u64 client_mac; /* where from */
	u32 connection; /* number of the next frame's connection */
	u32 segment;    /* which of that connection's segments it is */
	u32 segments;   /* of every connection, at most 4 */
	u32 astray;     /* frames for which there was nobody to hand them to */
	u8 flags[8];    /* TCP flags of a connection's segments */
};

BPF_ARRAY(spoofer_script, struct script, 1);
BPF_PROG_ARRAY(spoofer_target, 1);

/* A bijection: connections of different numbers differ, and neighbours have nothing in common. */
static __always_inline u32 scattered(u32 number)
{
	number *= 0x9e3779b1U;
	number ^= number >> 15;
	number *= 0x85ebca6bU;
	return number ^ number >> 13;
}

/* Writes a word of the frame; returns by how much the sum of the frame's words changes, in one's complement. */
static __always_inline u32 exchange(__be16 *at, __be16 value)
{
	u32 change = (u16)~*at + value;

	*at = value;
	return change;
}

static __always_inline void adjust(__sum16 *check, u32 change)
{
	u32 sum = (u16)~*check + change;

	sum = (sum & 0xffff) + (sum >> 16);
	*check = ~(sum + (sum >> 16));
}

static __always_inline void put_client(struct iphdr *ip, struct tcphdr *tcp, u32 connection)
{
	u32 scattered_number = scattered(connection);
	__be32 address = __builtin_bswap32(FIRST_ADDRESS + (scattered_number >> PORT_BITS));
	__be16 *words = (void *)&ip->saddr;
	u32 change = exchange(words, address) + exchange(words + 1, address >> 16);

	adjust(&ip->check, change);
	change += exchange(&tcp->source, be16(FIRST_PORT + (scattered_number & ((1 << PORT_BITS) - 1))));
	adjust(&tcp->check, change);
}

static __always_inline void put_flags(struct tcphdr *tcp, u8 flags)
{
	__be16 *word = (void *)tcp + 12; /* the header's length, then the flags */

	adjust(&tcp->check, exchange(word, be16((from_be16(*word) & 0xff00) | flags)));
}

static __always_inline void step(struct script *script)
{
	if (++script->segment < script->segments)
		return;
	script->segment = 0;
	script->connection++;
}

/* Makes the frame, which must be IPv4 without options and TCP, the script's next one. */
static __always_inline bool spoof(struct xdp_md *ctx, struct script *script)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end)
		return false;
	set_mac(eth->h_dest, script->own_mac);
	set_mac(eth->h_source, script->client_mac);
	put_client(ip, tcp, script->connection);
	put_flags(tcp, script->flags[script->segment & 7]);
	step(script);
	return true;
}

/* To the program under test. */
int spoof_into(struct xdp_md *ctx)
{
	u32 first = 0;
	struct script *script = spoofer_script.lookup(&first);

	if (!script)
		return XDP_ABORTED;
	if (spoof(ctx, script))
		spoofer_target.call(ctx, 0);
	script->astray++;
	return XDP_ABORTED;
}

/* Out of the interface that the frame is said to have come in by. */
int spoof_out(struct xdp_md *ctx)
{
	u32 first = 0;
	struct script *script = spoofer_script.lookup(&first);

	return script && spoof(ctx, script) ? XDP_TX : XDP_ABORTED;
}
