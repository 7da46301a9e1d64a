/* Stands where bcc force-includes the kernel's own kconfig.h (-include linux/kconfig.h).
 * An XDP program needs the UAPI types only, so a dozen lines replace a kernel tree. */
#ifndef LBCTL_KSHIM_KCONFIG_H
#define LBCTL_KSHIM_KCONFIG_H
#define __LINUX_BPF_H__ /* bcc force-includes its own copy of this header */
#define CONFIG_BPF_SYSCALL 1
#include <linux/types.h>
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;
#define NULL ((void *)0)
#define true 1
#define false 0
#endif
