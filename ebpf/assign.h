/* SPDX-License-Identifier: GPL-2.0-or-later */
/* assign.h: which backend holds what a source sends, where storage is private. */
#ifndef LB_ASSIGN_H
#define LB_ASSIGN_H

#include "choice.h"
#include "features.h"

static __always_inline u32 *assignment_of(const struct choice *c)
{
	if (c->is_ipv6) {
		struct assignment_key6 key = {.pool = c->pool};

		__builtin_memcpy(key.client, c->key6.client, sizeof(key.client));
		return lb_assignments6.lookup(&key);
	}
	struct assignment_key4 key = {c->key4.client, c->pool};

	return lb_assignments4.lookup(&key);
}

/* Who holds what the source sends, or 0: it has sent nothing yet, or the holder is no more. */
static __always_inline backend_ref assigned_to(const struct choice *c)
{
	u32 *ref = LB_PRIVATE && c->home->is_private ? assignment_of(c) : NULL;

	return ref && (*ref == LB_NOBODY_ELSE || backend_of(*ref)) ? *ref : 0;
}

/* Two first connections of one source may have begun on either side of a re-weighting: the first one made decides. */
static __always_inline bool may_hold(const struct choice *c)
{
	backend_ref holder = assigned_to(c);

	return !holder || holder == c->ref;
}

/* The source sent its first packet to a server that will hold what it sends; one that has a holder keeps it. */
static __always_inline void assign(const struct choice *c)
{
	u32 ref = c->ref;

	if (!LB_PRIVATE || !c->home->is_private || assigned_to(c))
		return;
	if (c->is_ipv6) {
		struct assignment_key6 key = {.pool = c->pool};

		__builtin_memcpy(key.client, c->key6.client, sizeof(key.client));
		lb_assignments6.update(&key, &ref);
	} else {
		struct assignment_key4 key = {c->key4.client, c->pool};

		lb_assignments4.update(&key, &ref);
	}
}

#endif
