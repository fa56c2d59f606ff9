//! Small functions for what C99 leaves to the compiler or does not have. GCC and Clang make one instruction of each where
//! the processor has it.

use super::kernel::ty;
use crate::kir::Ty;

/// A function that the sources define if they use it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Helper {
    /// One bits of a word.
    Popcount,
    /// Arithmetic shift right.
    Shr(Ty),
    /// The word's bits as a signed number.
    ToI32,
    /// The byte's bits as a signed number.
    ToI8,
    /// The half word's bits as a signed number.
    ToI16,
    /// Lesser.
    Min(Ty),
    /// Greater.
    Max(Ty),
    /// The nearest number that so many bits hold, with a sign or without.
    Saturate(u8, bool),
    /// Memory holds what was stored.
    Fence,
}

impl Helper {
    /// Name without the prefix.
    pub fn name(self) -> String {
        match self {
            Helper::Popcount => "popcount".into(),
            Helper::Shr(t) => format!("shr_{}", short(t)),
            Helper::ToI32 => "to_i32".into(),
            Helper::ToI8 => "to_i8".into(),
            Helper::ToI16 => "to_i16".into(),
            Helper::Min(t) => format!("min_{}", short(t)),
            Helper::Max(t) => format!("max_{}", short(t)),
            Helper::Saturate(bits, true) => format!("saturate_i{bits}"),
            Helper::Saturate(bits, false) => format!("saturate_u{bits}"),
            Helper::Fence => "fence".into(),
        }
    }

    /// Its definition.
    pub fn definition(self, prefix: &str) -> String {
        let name = format!("{prefix}_{}", self.name());
        match self {
            Helper::Popcount => format!(
                "/* One bits of a word; an unsigned long holds it on every processor. */\n\
                 SQ_INLINE uint32_t {name}(uint32_t x)\n{{\n\
                 #if defined(__GNUC__)\n    return (uint32_t)__builtin_popcountl(x);\n#else\n    \
                 x -= (x >> 1) & 0x55555555u;\n    \
                 x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);\n    \
                 return (((x + (x >> 4)) & 0x0f0f0f0fu) * 0x01010101u) >> 24;\n#endif\n}}\n"
            ),
            Helper::Shr(t) => {
                let c = ty(t);
                let (cast, close) = match t {
                    Ty::I8 => ("(int8_t)(", ")"),
                    Ty::I16 => ("(int16_t)(", ")"),
                    _ => ("", ""),
                };
                format!(
                    "/* Shift right that keeps the sign: C leaves that of a negative number to the compiler. */\n\
                     SQ_INLINE {c} {name}({c} x, {c} n)\n{{\n    return {cast}x < 0 ? ~(~x >> n) : x >> n{close};\n}}\n"
                )
            }
            Helper::ToI32 => format!(
                "/* The word's bits as a signed number: C leaves the cast of a great one to the compiler. */\n\
                 SQ_INLINE int32_t {name}(uint32_t x)\n{{\n    \
                 return x <= INT32_MAX ? (int32_t)x : (int32_t)(x - 0x80000000u) + INT32_MIN;\n}}\n"
            ),
            Helper::ToI8 => format!(
                "/* The byte's bits as a signed number: C leaves the cast of a great one to the compiler. */\n\
                 SQ_INLINE int8_t {name}(uint8_t x)\n{{\n    return (int8_t)(x <= INT8_MAX ? x : x - 256);\n}}\n"
            ),
            Helper::ToI16 => format!(
                "/* The half word's bits as a signed number: C leaves the cast of a great one to the compiler. */\n\
                 SQ_INLINE int16_t {name}(uint16_t x)\n{{\n    return (int16_t)(x <= INT16_MAX ? x : x - 65536);\n}}\n"
            ),
            Helper::Min(t) => compare(&name, t, '<'),
            Helper::Max(t) => compare(&name, t, '>'),
            Helper::Saturate(bits, signed) => saturate(&name, bits, signed),
            Helper::Fence => format!(
                "/* What was stored lies in memory: sums for which there are no registers would go to the stack. */\n\
                 SQ_INLINE void {name}(void)\n{{\n\
                 #if defined(__GNUC__)\n    __asm__ volatile(\"\" ::: \"memory\");\n#endif\n}}\n"
            ),
        }
    }
}

fn compare(name: &str, t: Ty, sign: char) -> String {
    let t = ty(t);
    format!("SQ_INLINE {t} {name}({t} a, {t} b)\n{{\n    return a {sign} b ? a : b;\n}}\n")
}

/// GCC makes Arm's instruction of comparisons in straight-line code, but of those in a loop it moves the limits out first.
fn saturate(name: &str, bits: u8, signed: bool) -> String {
    let (least, most, instruction) = match signed {
        true => (-(1i32 << (bits - 1)), (1i32 << (bits - 1)) - 1, "ssat"),
        false => (0, (1i32 << bits) - 1, "usat"),
    };
    format!(
        "/* The nearest number to x from {least} to {most}. */\n\
         SQ_INLINE int32_t {name}(int32_t x)\n{{\n\
         #if defined(__GNUC__) && defined(__ARM_FEATURE_SAT)\n    return (int32_t)__builtin_arm_{instruction}(x, {bits});\n\
         #else\n    return x < {least} ? {least} : x > {most} ? {most} : x;\n#endif\n}}\n"
    )
}

/// Rust's name, which is the shorter.
fn short(t: Ty) -> &'static str {
    match t {
        Ty::Bool => "bool",
        Ty::U8 => "u8",
        Ty::I8 => "i8",
        Ty::U32 => "u32",
        Ty::I32 => "i32",
        Ty::I64 => "i64",
        Ty::F32 => "f32",
        Ty::Idx => "idx",
        Ty::U16 => "u16",
        Ty::I16 => "i16",
        Ty::Vec(..) => unreachable!("vectors have functions of their own"),
    }
}
