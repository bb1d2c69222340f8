// Turns a fault of the processor within a kernel into the report of an error: what no instrumentation saw.
#pragma once

namespace cuda_on_cpu {

void catch_faults();
void stop_catching_faults();

} // namespace cuda_on_cpu
