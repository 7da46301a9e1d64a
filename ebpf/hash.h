/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hash.h: the hashes. Pure. tests/packets/oracle.py holds their twins in Python. */
#ifndef LB_HASH_H
#define LB_HASH_H

#include "types.h"

/* A 5-tuple to 64 bits, by the finaliser of MurmurHash3 over both words. The high half chooses the slot and tags a half-open
 * entry, the low half finds its row: they must be independent. */
static __always_inline u64 hash_flow(const struct flow_key4 *key, u64 seed)
{
	u64 h = ((u64)key->client << 32 | key->vip) ^ seed;

	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h += (u32)key->client_port << 16 | key->vip_port;
	h *= 0xc4ceb9fe1a85ec53ULL;
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	return h;
}

/* A source to 32 bits, by which it chooses its slot where all its connections must go the same way. */
static __always_inline u32 hash_source(__be32 client, u64 seed)
{
	u64 h = client ^ seed;

	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h >> 32;
}

/* An address to its bit in lb_vip_filter: Fibonacci hashing to 16 bits. */
static __always_inline u32 hash_address(__be32 address)
{
	return (address * 0x9e3779b1U) >> 16;
}

/* A service's key to its first row in lb_services. */
static __always_inline u32 hash_service(u64 key)
{
	return ((u32)(key ^ key >> 32) * 0x9e3779b1U) >> 17;
}

#endif
