/* rounds TYPE K M: for every line of input, times a round of products of an M x K matrix of packed weights with a vector of
 * K floats, on one thread, and prints the nanoseconds of one product.
 *
 * A product is what ggml's own multiplication does: the vector is quantised once, then multiplied with every row. */
#define _POSIX_C_SOURCE 199309L
#include <ggml-cpu.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static enum ggml_type type_of(const char *name) {
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        const char *known = ggml_type_name((enum ggml_type)t);
        if (known != NULL && strcmp(known, name) == 0) {
            return (enum ggml_type)t;
        }
    }
    fprintf(stderr, "ggml has no type %s\n", name);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        return 2;
    }
    ggml_cpu_init();
    const enum ggml_type type = type_of(argv[1]);
    const int64_t k = atoll(argv[2]), m = atoll(argv[3]);
    const struct ggml_type_traits_cpu *weights = ggml_get_type_traits_cpu(type);
    const struct ggml_type_traits_cpu *vector = ggml_get_type_traits_cpu(weights->vec_dot_type);
    const size_t row = ggml_row_size(type, k);
    char *matrix = aligned_alloc(64, (row * (size_t)m + 63) / 64 * 64);
    char *packed = aligned_alloc(64, (ggml_row_size(weights->vec_dot_type, k) + 63) / 64 * 64);
    float *x = malloc((size_t)k * sizeof *x), *y = malloc((size_t)m * sizeof *y);
    uint32_t random = 1;
    for (int64_t r = 0; r < m; r++) {
        for (int64_t i = 0; i < k; i++) {
            random = random * 1664525u + 1013904223u;
            x[i] = (float)((random >> 16) % 3) - 1.0f;
        }
        weights->from_float(x, matrix + row * (size_t)r, k);
    }
    for (char line[16]; fgets(line, sizeof line, stdin) != NULL;) {
        long calls = 0;
        const double from = now();
        double to = from;
        while (to - from < 5e6) {
            for (int i = 0; i < 8; i++, calls++) {
                vector->from_float(x, packed, k);
                for (int64_t r = 0; r < m; r++) {
                    weights->vec_dot((int)k, y + r, 0, matrix + row * (size_t)r, 0, packed, 0, 1);
                }
            }
            to = now();
        }
        printf("%f\n", (to - from) / (double)calls);
        fflush(stdout);
    }
    return 0;
}
