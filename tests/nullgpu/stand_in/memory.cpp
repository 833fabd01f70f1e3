// Devices, their memory and copies. Memory that no copy reaches is never touched, so it takes none of the host's.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "state.h"

namespace null {

static const Card RTX_4090 = {
    "NVIDIA GeForce RTX 4090", 8, 9, 128, 72 << 20, 1536, 102400, 101376, 86, (size_t)(23.6 * (1ull << 30))};
static const Card H200 = {"NVIDIA H200", 9, 0, 132, 60 << 20, 2048, 233472, 232448, 90, (size_t)(139.8 * (1ull << 30))};

static long setting(const char* name, long otherwise) {
  const char* value = getenv(name);
  return value ? atol(value) : otherwise;
}

const Card& card() {
  static const Card& one = setting("NULLGPU_SM", 89) == 90 ? H200 : RTX_4090;
  return one;
}

int devices() {
  static int number = (int)setting("NULLGPU_DEVICES", 1);
  return number;
}

static thread_local int current = 0;
int current_device() { return current; }
void make_current(int device) { current = device; }

struct Block {
  size_t bytes;
  int device;
};
static std::map<const void*, Block> blocks, host_blocks;
static size_t used[MOST_DEVICES];
static size_t limit = 0;

struct Pending {
  const void* from;
  size_t bytes;
  unsigned long long sum;
  double due;
};
static std::vector<Pending> pending;

static const Block* around(std::map<const void*, Block>& among, const void* place) {
  auto after = among.upper_bound(place);
  if (after == among.begin()) return nullptr;
  --after;
  return (const char*)place < (const char*)after->first + after->second.bytes ? &after->second : nullptr;
}

bool on_device(const void* place) {
  Locked locked(state().lock);
  return around(blocks, place) != nullptr;
}

bool pinned(const void* place) {
  Locked locked(state().lock);
  return around(host_blocks, place) != nullptr;
}

static size_t total() { return limit ? limit : card().bytes; }

int allocate(void** place, size_t bytes) {
  Locked locked(state().lock);
  *place = nullptr;
  bytes = (bytes + 511) & ~(size_t)511;
  if (used[current] + bytes > total()) return OUT_OF_MEMORY;
  void* made = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (made == MAP_FAILED) return OUT_OF_MEMORY;
  used[current] += bytes;
  blocks[made] = {bytes, current};
  *place = made;
  return OK;
}

int release(void* place) {
  Locked locked(state().lock);
  if (!place) return OK;
  auto found = blocks.find(place);
  if (found == blocks.end()) return INVALID;
  used[found->second.device] -= found->second.bytes;
  munmap(place, found->second.bytes);
  blocks.erase(found);
  return OK;
}

int allocate_host(void** place, size_t bytes) {
  Locked locked(state().lock);
  if (posix_memalign(place, 4096, bytes)) return OUT_OF_MEMORY;
  host_blocks[*place] = {bytes, -1};
  return OK;
}

void release_host(void* place) {
  Locked locked(state().lock);
  host_blocks.erase(place);
  free(place);
}

void memory(size_t* free_bytes, size_t* total_bytes) {
  Locked locked(state().lock);
  *total_bytes = total();
  *free_bytes = total() > used[current] ? total() - used[current] : 0;
}

static unsigned long long sum_of(const void* place, size_t bytes) {
  unsigned long long sum = 1469598103934665603ull;
  for (size_t i = 0; i < bytes; i += 8) sum = (sum ^ ((const unsigned char*)place)[i]) * 1099511628211ull;
  return sum;
}

void look_for_races(const char* where) {
  Locked locked(state().lock);
  std::vector<Pending> left;
  for (const Pending& one : pending) {
    if (pinned(one.from) && sum_of(one.from, one.bytes) != one.sum) {
      note("race", (std::string("pinned memory written before its copy was due, seen at ") + where).c_str());
    } else if (one.due > now()) {
      left.push_back(one);
    }
  }
  pending = left;
}

// Copies are made at once. One from pinned memory is due when the stream gets there: until then it must not be written.
int copy(void* to, const void* from, size_t bytes, void* handle) {
  Locked locked(state().lock);
  Stream* stream = stream_of(handle);
  bool up = !on_device(from), down = !on_device(to);
  bool pageable = (up && !pinned(from)) || (down && !pinned(to));
  const char* name = up && down ? "host to host" : up ? "to the device" : down ? "to the host" : "on the device";
  if (pageable && stream->capture) {
    refuse(stream->capture, std::string("a copy of pageable memory ") + name);
    return FORBIDDEN_IN_CAPTURE;
  }
  if (int code = launch(handle, "copy", name)) return code;
  if (stream->capture) return OK;
  look_for_races("the next copy");
  if (pageable || down) {
    locked.unlock();
    if (down) wait_for_stream(handle, "a copy to the host");
    locked.lock();
  }
  memcpy(to, from, bytes);
  if (up && !pageable) pending.push_back({from, bytes, sum_of(from, bytes), stream->busy_until});
  return OK;
}

int copy_now(void* to, const void* from, size_t bytes) {
  if (int code = forbidden("cudaMemcpy")) return code;
  wait_for_device("cudaMemcpy");
  memcpy(to, from, bytes);
  return OK;
}

// For the tests: a limit in bytes (0: the card's), and what a device holds.
extern "C" void null_limit(size_t bytes) { limit = bytes; }
extern "C" size_t null_used(int device) { return used[device]; }

}  // namespace null
