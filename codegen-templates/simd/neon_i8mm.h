/* Products of matrices of bytes: FEAT_I8MM (Armv8.6 and later), and what brings operands and sums into their order. */
#ifndef SQ_SIMD_NEON_I8MM
#define SQ_SIMD_NEON_I8MM

#ifndef __ARM_FEATURE_MATMUL_INT8
#error "compile with -march=armv8.6-a+i8mm"
#endif

SQ_INLINE sq_i32x4 sq_matrix_i32x4_i8x16_i8x16(sq_i32x4 acc, sq_i8x16 a, sq_i8x16 b)
{
    return vmmlaq_s32(acc, a, b);
}

SQ_INLINE sq_i8x16 sq_even8_i8x16(sq_i8x16 a, sq_i8x16 b)
{
    return vreinterpretq_s8_s64(vuzp1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

SQ_INLINE sq_i8x16 sq_odd8_i8x16(sq_i8x16 a, sq_i8x16 b)
{
    return vreinterpretq_s8_s64(vuzp2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

SQ_INLINE sq_i32x4 sq_even1_i32x4(sq_i32x4 a, sq_i32x4 b) { return vuzp1q_s32(a, b); }

SQ_INLINE sq_i32x4 sq_odd1_i32x4(sq_i32x4 a, sq_i32x4 b) { return vuzp2q_s32(a, b); }

#endif
