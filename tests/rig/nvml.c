/* libnvidia-ml.so.1 of hosts: it tells of the GPUs in /etc/gpus, as they are there now.
 *
 * One line a GPU: UUID|NAME|MEMORY MiB|USED MiB|USE %|TEMPERATURE|WATT. No file: the driver is not loaded.
 */
#include <stdio.h>

#define MOST 16
enum { SUCCESS, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9 };

typedef struct gpu {
    char uuid[80], name[80];
    unsigned long long total, used;
    unsigned use, temperature, watt;
} *Device;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
typedef struct { unsigned gpu, memory; } Utilization;

static struct gpu gpus[MOST];
static unsigned count;

static int look(void) {
    FILE *file = fopen("/etc/gpus", "r");
    char line[256];
    count = 0;
    if (!file) return DRIVER_NOT_LOADED;
    while (count < MOST && fgets(line, sizeof line, file)) {
        Device d = &gpus[count];
        count += sscanf(line, "%79[^|]|%79[^|]|%llu|%llu|%u|%u|%u", d->uuid, d->name, &d->total, &d->used,
                        &d->use, &d->temperature, &d->watt) == 7;
    }
    fclose(file);
    return SUCCESS;
}

int nvmlInit_v2(void) { return look(); }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return look(); }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    return code == SUCCESS ? "Success" : code == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "Unknown Error";
}

int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    snprintf(text, length, "550.127.05");
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = 12040;
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

int nvmlDeviceGetCount_v2(unsigned *number) {
    int code = look();
    *number = count;
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
    if (look() || index >= count) return INVALID_ARGUMENT;
    *device = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetIndex(Device device, unsigned *index) {
    *index = device - gpus;
    return SUCCESS;
}

int nvmlDeviceGetName(Device device, char *text, unsigned length) {
    snprintf(text, length, "%s", device->name);
    return SUCCESS;
}

int nvmlDeviceGetUUID(Device device, char *text, unsigned length) {
    snprintf(text, length, "%s", device->uuid);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
    int code = look();
    memory->total = device->total << 20;
    memory->used = device->used << 20;
    memory->free = memory->total - memory->used;
    return code;
}

int nvmlDeviceGetMemoryInfo_v2(Device device, Memory2 *memory) {
    int code = look();
    memory->total = device->total << 20;
    memory->reserved = 0;
    memory->used = device->used << 20;
    memory->free = memory->total - memory->used;
    return code;
}

int nvmlDeviceGetUtilizationRates(Device device, Utilization *rates) {
    int code = look();
    rates->gpu = rates->memory = device->use;
    return code;
}

int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *degrees) {
    int code = look();
    (void)sensor;
    *degrees = device->temperature;
    return code;
}

int nvmlDeviceGetPowerUsage(Device device, unsigned *milliwatt) {
    int code = look();
    *milliwatt = device->watt * 1000;
    return code;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *number, void *processes) {
    (void)device;
    (void)processes;
    *number = 0;
    return SUCCESS;
}
