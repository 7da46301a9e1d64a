/* SPDX-License-Identifier: GPL-2.0-or-later */
/* budget.h: token buckets, one a CPU, service and purpose, against what floods would have us do. */
#ifndef LB_BUDGET_H
#define LB_BUDGET_H

#include "maps.h"

#define DIRECTOR 0 /* in place of a service id: what we generate ourselves */
#define REFUSALS_A_SECOND 1000
#define RESETS_A_SECOND 1000
#define PICK_UPS_A_SECOND 1000
#define HANDSHAKES_A_SECOND 20000
#define USUAL_HZ 250 /* until the daemon has measured it */

static __always_inline u32 ticks_a_second(void)
{
	u32 first = 0;
	struct globals *globals = lb_globals.lookup(&first);

	return globals && globals->hz ? globals->hz : USUAL_HZ;
}

/* Takes one token if there is one. A bucket holds what a second brings. */
static __always_inline bool take_token(u32 service, enum lb_purpose purpose, u32 a_second)
{
	u32 row = service * LB_PURPOSES + purpose;
	struct budget *budget = lb_budgets.lookup(&row);
	u32 now = (u32)bpf_jiffies64();
	u64 fresh;

	if (!budget)
		return false;
	fresh = (u64)(u32)(now - budget->refilled) * a_second / ticks_a_second();
	if (fresh) {
		budget->tokens = budget->tokens + fresh < a_second ? budget->tokens + fresh : a_second;
		budget->refilled = now;
	}
	if (!budget->tokens)
		return false;
	budget->tokens--;
	return true;
}

#endif
