// The part of NVIDIA's management library that Godwit calls, declared by hand: the library is opened at run time, so neither its
// header nor the library itself is needed to build or to run on a machine without an NVIDIA GPU.
// Names and layouts follow the public nvml.h (API 11 to 13); `_Static_assert` holds the sizes that its structure versions encode.

#ifndef GODWIT_CNVML_H
#define GODWIT_CNVML_H

#include <stddef.h>
#include <stdint.h>

/// nvmlDevice_t: an opaque handle.
typedef struct godwit_nvml_device_record *godwit_nvml_device;

/// nvmlUtilization_t: percent of the last sample period (1/6 s to 1 s).
struct godwit_nvml_utilization {
    uint32_t gpu;
    uint32_t memory;
};

/// nvmlMemory_t: bytes.
struct godwit_nvml_memory {
    uint64_t total;
    uint64_t free;
    uint64_t used;
};

/// nvmlMemory_v2_t: bytes; `used` does not hold what the driver keeps for itself. `version` must be set.
struct godwit_nvml_memory_v2 {
    uint32_t version;
    uint64_t total;
    uint64_t reserved;
    uint64_t free;
    uint64_t used;
};

/// nvmlTemperature_t (API 13). `version` and `sensor` (0 is the die) must be set.
struct godwit_nvml_temperature {
    uint32_t version;
    uint32_t sensor;
    int32_t temperature;
};

/// nvmlProcessInfo_t (v2 and v3 of the call): memory is all ones when the driver does not tell.
struct godwit_nvml_process {
    uint32_t pid;
    uint64_t used_memory;
    uint32_t gpu_instance;
    uint32_t compute_instance;
};

_Static_assert(sizeof(struct godwit_nvml_memory_v2) == 40, "nvmlMemory_v2_t");
_Static_assert(sizeof(struct godwit_nvml_temperature) == 12, "nvmlTemperature_v1_t");
_Static_assert(sizeof(struct godwit_nvml_process) == 24, "nvmlProcessInfo_v2_t");

/// NVML_STRUCT_VERSION: size and version in one number.
#define GODWIT_NVML_VERSION(type, number) ((uint32_t)(sizeof(type) | ((number) << 24u)))
static const uint32_t godwit_nvml_memory_v2_version = GODWIT_NVML_VERSION(struct godwit_nvml_memory_v2, 2u);
static const uint32_t godwit_nvml_temperature_version = GODWIT_NVML_VERSION(struct godwit_nvml_temperature, 1u);

// ---- nvmlReturn_t

static const int GODWIT_NVML_SUCCESS = 0;
static const int GODWIT_NVML_NOT_SUPPORTED = 3;
static const int GODWIT_NVML_INSUFFICIENT_SIZE = 7;
static const int GODWIT_NVML_GPU_IS_LOST = 15;

// ---- the calls

typedef int (*godwit_nvml_init)(void);
typedef int (*godwit_nvml_shutdown)(void);
typedef const char *(*godwit_nvml_error_string)(int code);
typedef int (*godwit_nvml_driver_version)(char *text, unsigned length);
typedef int (*godwit_nvml_device_count)(unsigned *count);
typedef int (*godwit_nvml_device_handle)(unsigned index, godwit_nvml_device *device);
typedef int (*godwit_nvml_device_text)(godwit_nvml_device device, char *text, unsigned length);
typedef int (*godwit_nvml_device_number)(godwit_nvml_device device, unsigned *number);
typedef int (*godwit_nvml_device_utilization)(godwit_nvml_device device, struct godwit_nvml_utilization *utilization);
typedef int (*godwit_nvml_device_memory)(godwit_nvml_device device, struct godwit_nvml_memory *memory);
typedef int (*godwit_nvml_device_memory_v2)(godwit_nvml_device device, struct godwit_nvml_memory_v2 *memory);
typedef int (*godwit_nvml_device_temperature)(godwit_nvml_device device, unsigned sensor, unsigned *celsius);
typedef int (*godwit_nvml_device_temperature_v)(godwit_nvml_device device, struct godwit_nvml_temperature *temperature);
typedef int (*godwit_nvml_device_processes)(
    godwit_nvml_device device, unsigned *count, struct godwit_nvml_process *processes
);

#endif
