/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rewrite.h: the two MAC addresses, the only bytes of a forwarded packet that change. */
#ifndef LB_REWRITE_H
#define LB_REWRITE_H

#include "packet.h"
#include "stats.h"

#define MAC_MASK 0x0000ffffffffffffULL

/* Addresses the frame to the backend, or returns the reason why it must not go there; else returns `reason`. A frame never
 * goes to a MAC that was not confirmed, nor back to the MAC it came from. */
static __always_inline enum lb_reason send_to(const struct packet *pkt, struct backend *backend, backend_ref ref,
					      enum lb_reason reason)
{
	u64 mac = *(volatile u64 *)&backend->link & MAC_MASK;

	if (!mac)
		return LB_UNRESOLVED;
	if (mac == mac_at(pkt->eth->h_source)) {
		count_returned(ref & 0xffff);
		return LB_LOOP_BACKEND;
	}
	__builtin_memcpy(pkt->eth->h_source, pkt->eth->h_dest, ETH_ALEN); /* it was addressed to our own MAC */
	set_mac(pkt->eth->h_dest, mac);
	return reason;
}

#endif
