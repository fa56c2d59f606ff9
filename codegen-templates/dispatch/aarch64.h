/* Which instructions this processor has, as the operating system says; where none is asked, those that every one has. */
#ifndef SQ_DISPATCH_AARCH64
#define SQ_DISPATCH_AARCH64

#define SQ_HAS(feature) sq_has_##feature()

#if defined(__linux__)
#include <sys/auxv.h>
/* Bits of the kernel's arch/arm64/include/uapi/asm/hwcap.h. */
static inline int sq_has_dotprod(void) { return (getauxval(AT_HWCAP) >> 20 & 1u) != 0; }
static inline int sq_has_i8mm(void) { return (getauxval(AT_HWCAP2) >> 13 & 1u) != 0; }
#elif defined(__APPLE__)
#include <stddef.h>
#include <sys/sysctl.h>
static inline int sq_sysctl(const char *name)
{
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value != 0;
}
static inline int sq_has_dotprod(void) { return sq_sysctl("hw.optional.arm.FEAT_DotProd"); }
static inline int sq_has_i8mm(void) { return sq_sysctl("hw.optional.arm.FEAT_I8MM"); }
#else
static inline int sq_has_dotprod(void) { return 0; }
static inline int sq_has_i8mm(void) { return 0; }
#endif

static inline int sq_has_neon(void) { return 1; }

#endif
