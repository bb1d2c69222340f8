// What instrumented code calls: the interface of GCC's and Clang's thread sanitizer and of their undefined behaviour
// sanitizer, whose own libraries are not linked.
#include "accesses.h"
#include "reports.h"
#include "shadow.h"

using namespace cuda_on_cpu;

#define CODE ((char *)__builtin_return_address(0) - 1) // the call itself

static inline void read(char *address, size_t size, const void *code) {
    if (!is_settled(address, size, code)) check({reads, address, size, code});
}

#define ACCESSES(size)                                                                                    \
    void __tsan_read##size(char *address) { read(address, size, CODE); }                                  \
    void __tsan_write##size(char *address) { check({writes, address, size, CODE}); }                      \
    void __tsan_unaligned_read##size(char *address) { read(address, size, CODE); }                        \
    void __tsan_unaligned_write##size(char *address) { check({writes, address, size, CODE}); }            \
    void __tsan_volatile_read##size(char *address) { read(address, size, CODE); }                         \
    void __tsan_volatile_write##size(char *address) { check({writes, address, size, CODE}); }             \
    void __tsan_unaligned_volatile_read##size(char *address) { read(address, size, CODE); }               \
    void __tsan_unaligned_volatile_write##size(char *address) { check({writes, address, size, CODE}); }

extern "C" {

ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(char *address, size_t size) { check({reads, address, size, CODE}); }
void __tsan_write_range(char *address, size_t size) { check({writes, address, size, CODE}); }
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}

// What the compiler tells about the place of an error, as far as it is of use here.
struct Type {
    uint16_t kind, bits; // of an integer: 2 log2(width) + whether it is signed
    char name[1];
};
struct OutOfBounds {
    const char *file;
    uint32_t line, column;
    const Type *array, *index;
};
struct Mismatch {
    const char *file;
    uint32_t line, column;
    const Type *type;
    unsigned char log_alignment, kind;
};

void __ubsan_handle_out_of_bounds_abort(const OutOfBounds *found, uintptr_t value) {
    unsigned spare = 64 - (1 << (found->index->bits >> 1));
    long long index = found->index->bits & 1 ? (long long)(value << spare) >> spare : value;
    check_unwritten();
    report(CODE, "index %lld is out of bounds of an array %s", index, found->array->name);
}

void __ubsan_handle_type_mismatch_v1_abort(const Mismatch *found, uintptr_t address) {
    if (!address) report(CODE, "the pointer to a %s is null", found->type->name);
    report(CODE, "a %s must lie at a multiple of %d bytes; this one lies %d bytes after one", found->type->name,
           1 << found->log_alignment, (int)(address % (1 << found->log_alignment)));
}

} // extern "C"
