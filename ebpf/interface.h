/* SPDX-License-Identifier: GPL-2.0-or-later */
/* interface.h: the segments that are ours. */
#ifndef LB_INTERFACE_H
#define LB_INTERFACE_H

#include "hash.h"
#include "maps.h"

/* Our interface on a segment, and which row it has. */
static __always_inline struct interface *interface_on(lan_word lan, u32 *row)
{
	u32 home = hash_lan(lan);

#pragma unroll
	for (u32 probe = 0; probe < LB_INTERFACE_PROBES; probe++) {
		struct interface *interface;

		*row = (home + probe) & (LB_INTERFACES - 1);
		interface = lb_interfaces.lookup(row);
		if (interface && interface->lan == lan)
			return interface;
	}
	return NULL;
}

#endif
