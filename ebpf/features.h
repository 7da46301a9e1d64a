/* SPDX-License-Identifier: GPL-2.0-or-later */
/* features.h: what a configuration does not use is compiled out. The daemon says which; by itself everything is in. None of these
 * changes a map. */
#ifndef LB_FEATURES_H
#define LB_FEATURES_H

#ifndef LB_IPV6
#define LB_IPV6 1 /* services with IPv6 addresses */
#endif
#ifndef LB_LANS
#define LB_LANS 1 /* backends on another segment than the packet came in by */
#endif
#ifndef LB_SOURCES
#define LB_SOURCES 1 /* allow-lists and classes of connections */
#endif
#ifndef LB_LIMITS
#define LB_LIMITS 1 /* connection limits */
#endif
#ifndef LB_PRIVATE
#define LB_PRIVATE 1 /* private storage */
#endif

#endif
