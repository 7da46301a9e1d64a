/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hash.h: the hashes. Pure. tests/packets/oracle.py holds their twins in Python. */
#ifndef LB_HASH_H
#define LB_HASH_H

#include "types.h"

static __always_inline u64 mixed(u64 h)
{
	h ^= h >> 33;
	return h * 0xff51afd7ed558ccdULL;
}

static __always_inline u64 finished(u64 h, u32 ports)
{
	h ^= h >> 33;
	h += ports;
	h *= 0xc4ceb9fe1a85ec53ULL;
	h = mixed(h);
	return h ^ h >> 33;
}

/* Half an IPv6 address, as it lies in memory. */
static __always_inline u64 two_words(const __be32 *words)
{
	return (u64)words[1] << 32 | words[0];
}

/* A 5-tuple to 64 bits, by the finaliser of MurmurHash3 over both words. The high half chooses the slot and tags a half-open
 * entry, the low half finds its row: they must be independent. */
static __always_inline u64 hash_flow4(const struct flow_key4 *key, u64 seed)
{
	u64 h = mixed(((u64)key->client << 32 | key->vip) ^ seed);

	return finished(h, (u32)key->client_port << 16 | key->vip_port);
}

static __always_inline u64 hash_flow6(const struct flow_key6 *key, u64 seed)
{
	u64 h = mixed(two_words(key->client) ^ seed);

	h = mixed(two_words(key->client + 2) ^ h);
	h = mixed(two_words(key->vip) ^ h);
	h = mixed(two_words(key->vip + 2) ^ h);
	return finished(h, (u32)key->client_port << 16 | key->vip_port);
}

/* A source to 32 bits, by which it chooses its slot where all its connections must go the same way. */
static __always_inline u32 hash_source4(__be32 client, u64 seed)
{
	u64 h = mixed(client ^ seed);

	return (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ULL >> 32;
}

static __always_inline u32 hash_source6(const __be32 *client, u64 seed)
{
	u64 h = mixed(two_words(client + 2) ^ mixed(two_words(client) ^ seed));

	return (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ULL >> 32;
}

/* An address to its bit in lb_vip_filter: Fibonacci hashing to 16 bits. */
static __always_inline u32 hash_address4(__be32 address)
{
	return (address * 0x9e3779b1U) >> 16;
}

static __always_inline u32 hash_address6(const __be32 *address)
{
	return (address[0] * 0x9e3779b1U + address[1] * 0x85ebca6bU + address[2] * 0xc2b2ae35U + address[3] * 0x27d4eb2fU) >> 16;
}

/* A segment to its first row in lb_interfaces. */
static __always_inline u32 hash_lan(lan_word lan)
{
	return ((u32)(lan ^ lan >> 32) * 0x9e3779b1U) >> 22;
}

/* A service's key to its first row in lb_services. */
static __always_inline u32 hash_service(u64 key)
{
	return ((u32)(key ^ key >> 32) * 0x9e3779b1U) >> 17;
}

#endif
