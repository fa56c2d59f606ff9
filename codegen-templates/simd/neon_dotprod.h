/* Dot products of bytes: FEAT_DotProd (Armv8.2 and later). */
#ifndef SQ_SIMD_NEON_DOTPROD
#define SQ_SIMD_NEON_DOTPROD

#ifndef __ARM_FEATURE_DOTPROD
#error "compile with -march=armv8.2-a+dotprod"
#endif

static inline sq_i32x4 sq_dot_i32x4_i8x16_i8x16(sq_i32x4 acc, sq_i8x16 a, sq_i8x16 b)
{
    return vdotq_s32(acc, a, b);
}

#endif
