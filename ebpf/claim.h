/* SPDX-License-Identifier: GPL-2.0-or-later */
/* claim.h: which addresses are VIPs, and who else says that they are his. */
#ifndef LB_CLAIM_H
#define LB_CLAIM_H

#include "hash.h"
#include "interface.h"
#include "maps.h"

static __always_inline bool passes_filter(u32 bit)
{
	u32 word = bit >> 6;
	u64 *filter = lb_vip_filter.lookup(&word);

	return filter && *filter >> (bit & 63) & 1;
}

static __always_inline bool may_be_vip4(__be32 address)
{
	return passes_filter(hash_address4(address));
}

static __always_inline bool may_be_vip6(const __be32 *address)
{
	return passes_filter(hash_address6(address));
}

/* Another station says that a VIP is its own (RFC 5227 section 2.4): for the daemon to report, and to answer. */
static __always_inline enum lb_reason note_claim(struct vip *vip, u64 mac)
{
	*(volatile u64 *)&vip->claimant = mac;
	__sync_fetch_and_add(&vip->claims, 1);
	return LB_VIP_CLAIMED;
}

#endif
