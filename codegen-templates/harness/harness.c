/* Runs a generated network on the samples of a file; the same as harness.rs, which says how.
 *
 * The network comes by macros: MODEL_HEADER, MODEL_INFER, MODEL_ARENA, MODEL_INPUT, MODEL_INPUT_LEN, MODEL_OUTPUT and
 * MODEL_OUTPUT_LEN. */
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#define BARE_CORTEX_M
#elif !defined(__riscv) || defined(__linux__)
#define HOSTED
#define _POSIX_C_SOURCE 199309L /* for the clock */
#endif
#include MODEL_HEADER
#include <stddef.h>
#include <stdint.h>

#if defined(HOSTED)
#define WATCHED 65536u
#define STACK_LIMIT 0u
#else
#define WATCHED 4096u
/* The RAM of a board may hold less than what is watched; the variables are no stack. */
extern uint32_t variables_end;
#define STACK_LIMIT ((uintptr_t)&variables_end)
#endif
#define PAINT 0xA5C35A3Cu

/* Aligned, with a nop behind: QEMU 7.2 does not show a plugin the last instruction before one that crosses a page (of 1 KB on
 * Cortex-M). */
#if defined(__thumb__)
#define MARK_BEGIN() __asm__ volatile(".balign 8\n.inst.n 0xbfa0\nnop" ::: "memory")
#define MARK_END() __asm__ volatile(".balign 8\n.inst.n 0xbfb0\nnop" ::: "memory")
#elif defined(__arm__)
#define MARK_BEGIN() __asm__ volatile(".inst 0xe320f0a0" ::: "memory")
#define MARK_END() __asm__ volatile(".inst 0xe320f0a1" ::: "memory")
#elif defined(__aarch64__)
#define MARK_BEGIN() __asm__ volatile("hint #0x70" ::: "memory")
#define MARK_END() __asm__ volatile("hint #0x71" ::: "memory")
#elif defined(__riscv)
#define MARK_BEGIN() __asm__ volatile(".balign 8\n.word 0x51002013\nnop" ::: "memory")
#define MARK_END() __asm__ volatile(".balign 8\n.word 0x51102013\nnop" ::: "memory")
#else
#define MARK_BEGIN() ((void)0)
#define MARK_END() ((void)0)
#endif

#if defined(__x86_64__)
#define STACK_POINTER(p) __asm__ volatile("mov %%rsp, %0" : "=r"(p))
#elif defined(__wasm__)
/* The stack in memory, where variables lie whose address is taken. */
#define STACK_POINTER(p) ((p) = (uintptr_t) & (p))
#elif defined(__riscv)
#define STACK_POINTER(p) __asm__ volatile("mv %0, sp" : "=r"(p))
#else
#define STACK_POINTER(p) __asm__ volatile("mov %0, sp" : "=r"(p))
#endif

#if !defined(HOSTED)

/* Semihosting: an operation and the address of its arguments. RISC-V has the operations of Arm. */
#if defined(BARE_CORTEX_M)
static uintptr_t call(uintptr_t operation, const void *arguments) {
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt #0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
#else
/* The two shifts around the uncompressed break tell it from a debugger's; the three lie in one page. */
static uintptr_t call(uintptr_t operation, const void *arguments) {
    register uintptr_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = arguments;
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     ".balign 16\n"
                     "slli x0, x0, 0x1f\n"
                     "ebreak\n"
                     "srai x0, x0, 7\n"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}
#endif

static void leave(uintptr_t code) {
    const uintptr_t arguments[2] = {0x20026u, code};
    call(0x20, arguments);
    for (;;) {
    }
}

typedef uintptr_t file_t;

static file_t open_file(const char *name, size_t length, int fresh) {
    const uintptr_t arguments[3] = {(uintptr_t)name, fresh ? 5u : 1u, length};
    const uintptr_t file = call(0x01, arguments);
    if (file == (uintptr_t)-1) {
        leave(2);
    }
    return file;
}

static int read_file(file_t file, void *bytes, size_t length) {
    const uintptr_t arguments[3] = {file, (uintptr_t)bytes, length};
    return call(0x06, arguments) == 0;
}

static void write_file(file_t file, const void *bytes, size_t length) {
    const uintptr_t arguments[3] = {file, (uintptr_t)bytes, length};
    if (call(0x05, arguments) != 0) {
        leave(3);
    }
}

static void close_file(file_t file) {
    (void)file;
}

int main(void);

#if defined(BARE_CORTEX_M)
extern uint32_t stack_top;

static void reset(void) {
    /* Enables the coprocessors of the FPU (Armv7-M ARM, B3.2.20); other cores ignore the write. */
    *(volatile uint32_t *)0xE000ED88u = 0xFu << 20;
    main();
    leave(0);
}

static void fault(void) {
    leave(99);
}

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} vector_t;

extern const vector_t vectors[16];
__attribute__((section(".vectors"), used)) const vector_t vectors[16] = {
    {.stack = &stack_top}, {.handler = reset}, {.handler = fault}, {.handler = fault}, {.handler = fault},
    {.handler = fault},    {.handler = fault}, {.handler = fault}, {.handler = fault}, {.handler = fault},
    {.handler = fault},    {.handler = fault}, {.handler = fault}, {.handler = fault}, {.handler = fault},
    {.handler = fault},
};
#else
void reset(void);
void fault(void);

/* First of all a stack, and what catches faults: the processor wants the address of a handler to be a multiple of 4. */
__asm__(".pushsection .start, \"ax\"\n"
        ".option arch, +zicsr\n"
        "la sp, stack_top\n"
        "la t0, 1f\n"
        "csrw mtvec, t0\n"
        "j reset\n"
        ".balign 4\n"
        "1: j fault\n"
        ".popsection");

__attribute__((used)) void reset(void) {
    main();
    leave(0);
}

__attribute__((used)) void fault(void) {
    leave(99);
}
#endif

/* What compilers call where there is no library. */
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        ((volatile unsigned char *)to)[i] = ((const unsigned char *)from)[i];
    }
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    const int up = (const unsigned char *)to <= (const unsigned char *)from;
    for (size_t i = 0; i < n; i++) {
        const size_t at = up ? i : n - 1 - i;
        ((volatile unsigned char *)to)[at] = ((const unsigned char *)from)[at];
    }
    return to;
}

void *memset(void *to, int value, size_t n) {
    for (size_t i = 0; i < n; i++) {
        ((volatile unsigned char *)to)[i] = (unsigned char)value;
    }
    return to;
}

#else
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef FILE *file_t;

static file_t open_file(const char *name, size_t length, int fresh) {
    FILE *file = fopen(name, fresh ? "wb" : "rb");
    (void)length;
    if (file == NULL) {
        exit(2);
    }
    return file;
}

static int read_file(file_t file, void *bytes, size_t length) {
    return fread(bytes, 1, length, file) == length;
}

static void write_file(file_t file, const void *bytes, size_t length) {
    if (fwrite(bytes, 1, length, file) != length) {
        exit(3);
    }
}

static void close_file(file_t file) {
    if (fclose(file) != 0) {
        exit(3);
    }
}

/* Nanoseconds of so many calls. */
static double timed(uint32_t calls, MODEL_ARENA *arena, const MODEL_INPUT *sample, MODEL_OUTPUT *result) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint32_t i = 0; i < calls; i++) {
        MODEL_INFER(arena, sample, result);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
}

/* Times the last sample, if there is a file that says how many rounds. */
static void time_rounds(MODEL_ARENA *arena, const MODEL_INPUT *sample, MODEL_OUTPUT *result) {
    uint32_t rounds = 0, calls = 1;
    FILE *file = fopen("rounds.bin", "rb");
    if (file == NULL) {
        return;
    }
    if (!read_file(file, &rounds, sizeof rounds)) {
        exit(2);
    }
    close_file(file);
    while (timed(calls, arena, sample, result) < 5e6) {
        calls *= 2;
    }
    file = open_file("times.bin", 9, 1);
    for (uint32_t i = 0; i < rounds; i++) {
        const double nanoseconds = timed(calls, arena, sample, result) / calls;
        write_file(file, &nanoseconds, sizeof nanoseconds);
    }
    close_file(file);
}
#endif

/* Bytes of stack that an inference takes, found by painting what lies below and looking for the lowest change. */
__attribute__((noinline)) static uint32_t watched(MODEL_ARENA *arena, const MODEL_INPUT *sample, MODEL_OUTPUT *result) {
    uintptr_t top;
#if defined(__SANITIZE_ADDRESS__)
    top = 0;
    MODEL_INFER(arena, sample, result);
    return (uint32_t)top;
#else
    STACK_POINTER(top);
    /* A red zone of 128 bytes below the stack pointer may be in use. */
    const uintptr_t watched_from = top - WATCHED > STACK_LIMIT ? top - WATCHED : STACK_LIMIT;
    const uintptr_t bottom = (watched_from + 3u) & ~(uintptr_t)3, end = (top - 128u) & ~(uintptr_t)3;
    for (uintptr_t at = bottom; at < end; at += 4) {
        *(volatile uint32_t *)at = PAINT;
    }
    MARK_BEGIN();
    MODEL_INFER(arena, sample, result);
    MARK_END();
    uintptr_t lowest = bottom;
    while (lowest < end && *(volatile uint32_t *)lowest == PAINT) {
        lowest += 4;
    }
    return (uint32_t)(top - lowest);
#endif
}

/* Where there are caches, no vector is to cross one of their lines by where the linker puts the arena. */
#if defined(__x86_64__) || defined(__aarch64__)
#define LINE __attribute__((aligned(64)))
#else
#define LINE
#endif

int main(void) {
    static MODEL_ARENA arena LINE;
    static MODEL_INPUT sample[MODEL_INPUT_LEN];
    static MODEL_OUTPUT result[MODEL_OUTPUT_LEN];
    uint32_t taken = 0;
    const file_t samples = open_file("samples.bin", 11, 0), results = open_file("results.bin", 11, 1);
    while (read_file(samples, sample, sizeof sample)) {
        taken = watched(&arena, sample, result);
        write_file(results, result, sizeof result);
    }
    close_file(results);
    const file_t stack = open_file("stack.bin", 9, 1);
    write_file(stack, &taken, sizeof taken);
    close_file(stack);
    close_file(samples);
#if defined(HOSTED)
    time_rounds(&arena, sample, result);
#endif
    return 0;
}
