/* SPDX-License-Identifier: GPL-2.0-or-later */
/* half_open.h: connections between SYN and first ACK, one 64-bit word each: the flow's tag in the high 32 bits, then the
 * backend's id (16), the low half of its generation (8) and a coarse time (8). One store writes it, so a reader sees a
 * whole entry. A SYN flood overwrites entries and nothing else; whoever lost his entry is chosen for by hash again. */
#ifndef LB_HALF_OPEN_H
#define LB_HALF_OPEN_H

#include "types.h"

#define HALF_OPEN_TICK 8   /* a tick is 256 jiffies: 1.02 s at 250 Hz, 2.56 s at 100 Hz */
#define HALF_OPEN_TICKS 64 /* older entries are not trusted (the time wraps at 256 ticks; see retention.py) */

static __always_inline u8 half_open_now(void)
{
	return bpf_jiffies64() >> HALF_OPEN_TICK;
}

static __always_inline u64 half_open_entry(u64 hash, backend_ref ref)
{
	u64 generation = (ref >> 16) & 0xff;

	return (hash & 0xffffffff00000000ULL) | (u64)(ref & 0xffff) << 16 | generation << 8 | half_open_now();
}

/* The backend id that this flow's SYN was sent to, or 0; *generation gets its low 8 bits. */
static __always_inline u16 half_open_backend(u64 entry, u64 hash, u8 *generation)
{
	u8 age = half_open_now() - (u8)entry;

	if ((entry ^ hash) >> 32 || age > HALF_OPEN_TICKS)
		return 0;
	*generation = entry >> 8;
	return entry >> 16;
}

#endif
