// What Python hands over for a launch, and gets back: module.py declares the same.
#pragma once
#include "blocks.h"

namespace cuda_on_cpu {

enum Memory { global_memory, static_shared, dynamic_shared_memory };

// A piece of memory that the kernel may use: an argument, or a shared array.
struct Array {
    char *start;
    size_t size;
    const char *name;
    unsigned item_size;
    unsigned memory;   // one of enum Memory
    unsigned constant; // whether the kernel may only read it
};

enum What { reads, writes, updates, waits };

// One step of the traced block.
struct Event {
    Index thread;
    unsigned what;         // one of enum What
    const char *operation; // what it waits in
    const char *file;      // where that stands
    int line;
    unsigned code;         // of an access instead: its offset in the library
    int array;             // of the launch's; -1: none
    size_t offset, size;   // in bytes
    char value[16];        // what it read or wrote
};

struct Launch {
    Index grid, block;
    size_t dynamic_shared_size;
    void *dynamic_shared;
    int order; // 0: threads and blocks in order; 1: the last first; others: shuffled with this seed
    int array_count;
    Array *arrays;
    Index traced; // the block whose events are wanted, where there is room for some
    int event_limit, event_count;
    Event *events;
    char message[2000]; // of an error; <+1a2b> in it stands for the line of the code at that offset in the library
};

extern Launch *launch;
extern Index block_now;

} // namespace cuda_on_cpu
