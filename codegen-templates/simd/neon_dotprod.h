/* Dot products of bytes: FEAT_DotProd (Armv8.2 and later). */
#ifndef SQ_SIMD_NEON_DOTPROD
#define SQ_SIMD_NEON_DOTPROD

#ifndef __ARM_FEATURE_DOTPROD
#error "compile with -march=armv8.2-a+dotprod"
#endif

SQ_INLINE sq_i32x4 sq_dot_i32x4_i8x16_i8x16(sq_i32x4 acc, sq_i8x16 a, sq_i8x16 b)
{
    return vdotq_s32(acc, a, b);
}

/* Four bytes of `b` for all lanes. */
#define sq_dot_group_i32x4_i8x16_i8x16(acc, a, b, n) vdotq_laneq_s32(acc, a, b, n)

#endif
