/* Which instructions this processor and its operating system have; GCC and Clang know. */
#ifndef SQ_DISPATCH_X86_64
#define SQ_DISPATCH_X86_64

#define SQ_HAS(feature) __builtin_cpu_supports(#feature)

#endif
