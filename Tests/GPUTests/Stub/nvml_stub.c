// A stand-in for NVIDIA's management library, compiled by the tests. What it shows is chosen by macros at compile time,
// so that each odd driver is a library of its own.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { unsigned index; } device_record;
static device_record records[8] = {{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}};

#ifndef DEVICES
#define DEVICES 2
#endif
#ifndef INIT_RESULT
#define INIT_RESULT 0
#endif

int nvmlInit_v2(void) { return INIT_RESULT; }
int nvmlShutdown(void) { return 0; }

#ifndef WITHOUT_ERROR_STRING
const char *nvmlErrorString(int code) {
    switch (code) {
    case 0: return "Success";
    case 3: return "Not Supported";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    default: return "Unknown Error";
    }
}
#endif

#ifndef BARE
int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    strncpy(text, "580.95.05", length);
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
#ifdef HANGING
    for (;;) pause();
#endif
    *count = DEVICES;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_record **device) {
#ifdef LOST
    if (index == LOST) return 15;
#endif
    *device = &records[index % 8];
    return 0;
}

int nvmlDeviceGetName(device_record *device, char *text, unsigned length) {
    strncpy(text, "NVIDIA H100 80GB HBM3", length);
    return 0;
}

int nvmlDeviceGetUUID(device_record *device, char *text, unsigned length) {
    strncpy(text, device->index == 0 ? "GPU-00000000-aaaa-bbbb-cccc-000000000000" : "GPU-11111111-aaaa-bbbb-cccc-111111111111", length);
    return 0;
}

int nvmlDeviceGetMinorNumber(device_record *device, unsigned *minor) {
    *minor = device->index + 4;
    return 0;
}

int nvmlDeviceGetPowerUsage(device_record *device, unsigned *milliwatts) {
    *milliwatts = 123456;
    return 0;
}

int nvmlDeviceGetUtilizationRates(device_record *device, struct { unsigned gpu, memory; } *rates) {
#ifdef MIG
    return 3;
#else
    rates->gpu = device->index == 0 ? 37 : 250;
    rates->memory = 12;
    return 0;
#endif
}

int nvmlDeviceGetMemoryInfo(device_record *device, struct { uint64_t total, free, used; } *memory) {
    memory->total = 80ull << 30;
    memory->used = 11ull << 30;
    memory->free = memory->total - memory->used;
    return 0;
}

#ifndef OLD
int nvmlDeviceGetMemoryInfo_v2(device_record *device, struct { uint32_t version; uint64_t total, reserved, free, used; } *memory) {
    if (memory->version != 0x02000028) return 25;
    memory->total = 80ull << 30;
    memory->reserved = 1ull << 30;
    memory->used = 10ull << 30;
    memory->free = memory->total - memory->used - memory->reserved;
    return 0;
}

int nvmlDeviceGetTemperatureV(device_record *device, struct { uint32_t version, sensor; int32_t temperature; } *value) {
    if (value->version != 0x0100000C || value->sensor != 0) return 25;
    value->temperature = 41;
    return 0;
}
#endif

int nvmlDeviceGetTemperature(device_record *device, unsigned sensor, unsigned *celsius) {
    *celsius = 40;
    return 0;
}

struct process { uint32_t pid; uint64_t memory; uint32_t gpu, compute; };

static int processes(unsigned *count, struct process *list) {
    // More than the caller's first guess, so that it must come again.
    unsigned total = 100;
    if (*count < total) {
        *count = total;
        return 7;
    }
    for (unsigned index = 0; index < total; index++) {
        list[index] = (struct process){5000 - index, index == 0 ? UINT64_MAX : (uint64_t)index << 20, UINT32_MAX, UINT32_MAX};
    }
    *count = total;
    return 0;
}

#ifdef OLD
int nvmlDeviceGetComputeRunningProcesses_v2(device_record *device, unsigned *count, struct process *list) { return processes(count, list); }
#else
int nvmlDeviceGetComputeRunningProcesses_v3(device_record *device, unsigned *count, struct process *list) { return processes(count, list); }
#endif
#endif
