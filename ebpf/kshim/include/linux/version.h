/* The C library's copy stands in for the kernel tree's. */
#include "/usr/include/linux/version.h"
