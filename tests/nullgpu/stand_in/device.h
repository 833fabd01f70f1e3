// A GPU that is not there. Its memory is memory of the host, its kernels do nothing but are noted by name; streams,
// events and captures are kept track of, so that what CUDA forbids is refused here too, with CUDA's own error codes.
// The three stand-ins for NVIDIA's libraries (runtime, driver, products) are thin: all that they know is in here.
#pragma once
#include <cstddef>

namespace null {

// CUDA's error codes that are given out, of runtime and driver alike.
enum Code {
  OK = 0,
  INVALID = 1,
  OUT_OF_MEMORY = 2,
  WRONG_HANDLE = 400,
  NOT_READY = 600,
  FORBIDDEN_IN_CAPTURE = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURES_MERGED = 903,
  NOT_CAPTURING = 904,
  WAITS_ON_UNCAPTURED = 905,
  LEGACY_STREAM_WAITS = 906,
  CAPTURED_EVENT = 907,
};

struct Card {
  const char* name;
  int major, minor, processors, l2_bytes, threads, shared_bytes, shared_bytes_block, code_version;
  size_t bytes;
};

// Devices. A thread has one current device, as in CUDA.
const Card& card();
int devices();
int current_device();
void make_current(int device);

// Memory.
int allocate(void** place, size_t bytes);
int release(void* place);
int allocate_host(void** place, size_t bytes);
void release_host(void* place);
void memory(size_t* free_bytes, size_t* total_bytes);
bool on_device(const void* place);
bool pinned(const void* place);

// Work. `launch` counts a kernel, a library's product or a copy, or adds it to the stream's capture.
int launch(void* stream, const char* kind, const char* name);
int copy(void* to, const void* from, size_t bytes, void* stream);
int copy_now(void* to, const void* from, size_t bytes);
int forbidden(const char* call);  // FORBIDDEN_IN_CAPTURE where a capture forbids it, which ends that capture
int wait_for_stream(void* stream, const char* call);
int wait_for_device(const char* call);

// Streams and events.
void* new_stream(unsigned flags);
void* new_event();
int record(void* event, void* stream);
int wait_for_event(void* event);
int event_done(void* event);
double event_seconds(void* event);
int stream_waits(void* stream, void* event);

// Captures and graphs. Modes are CUDA's: 0 global, 1 thread-local, 2 relaxed.
int begin_capture(void* stream, int mode);
int end_capture(void* stream, void** graph);
int capture_status(void* stream, unsigned long long* id, void** graph);  // CUDA's: 0 none, 1 active, 2 invalidated
int exchange_mode(int mode);
int instantiate(void** executable, void* graph);
int replay(void* executable, void* stream);
size_t nodes(void* graph);

// What has been seen, for the tests.
void note(const char* kind, const char* name);
void say_unwritten(const char* name);

}  // namespace null
