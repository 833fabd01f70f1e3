// Launches, copies and waits: where they go, and what a capture forbids.
#include <time.h>

#include <algorithm>
#include <cstring>

#include "state.h"

namespace null {

static thread_local int mode_of_thread = 0;

State& state() {
  static State* one = [] {
    auto* made = new State();
    for (int i = 0; i < MOST_DEVICES; i++) {
      made->legacy[i].device = i;
      made->streams.insert(&made->legacy[i]);
    }
    return made;
  }();
  return *one;
}

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

void wait_until(double due) {
  double left = due - now();
  if (left <= 0) return;
  timespec t{(time_t)left, (long)((left - (time_t)left) * 1e9)};
  nanosleep(&t, nullptr);
}

// 0, 1 and 2 are CUDA's handles of the legacy and the per-thread stream.
Stream* stream_of(void* handle) {
  return (size_t)handle <= 2 ? &state().legacy[current_device()] : (Stream*)handle;
}

void note(const char* kind, const char* name) {
  Locked locked(state().lock);
  state().notes[kind][name]++;
}

void say_unwritten(const char* name) { note("unwritten", name); }

void refuse(Graph* capture, const std::string& what) {
  if (capture) capture->valid = false;
  note("forbidden", what.c_str());
}

int exchange_mode(int mode) {
  std::swap(mode, mode_of_thread);
  return mode;
}

int forbidden(const char* call) {
  Locked locked(state().lock);
  note("call", call);
  if (mode_of_thread == 2) return OK;
  for (Graph* capture : state().captures) {
    bool everywhere = capture->mode == 0 && mode_of_thread == 0;
    bool here = capture->mode <= 1 && capture->thread == std::this_thread::get_id();
    if (!everywhere && !here) continue;
    refuse(capture, std::string(call) + " during a capture");
    return FORBIDDEN_IN_CAPTURE;
  }
  return OK;
}

int launch(void* handle, const char* kind, const char* name) {
  Locked locked(state().lock);
  Stream* stream = stream_of(handle);
  if (stream->device != current_device() && strcmp(kind, "copy")) {
    note("wrong device", (std::string(kind) + " " + name).c_str());
    return WRONG_HANDLE;
  }
  if (stream->capture) {
    stream->capture->nodes.push_back({kind, name});
    return OK;
  }
  if (!state().captures.empty()) {
    note("outside", (std::string(kind) + " " + name).c_str());
    if (stream == &state().legacy[stream->device]) {
      for (Graph* capture : state().captures) {
        if (!capture->origin->blocking) continue;
        refuse(capture, std::string("the legacy stream's ") + name);
        return LEGACY_STREAM_WAITS;
      }
    }
  }
  note(kind, name);
  stream->busy_until = std::max(stream->busy_until, now()) + state().kernel_seconds;
  return OK;
}

int wait_for_stream(void* handle, const char* call) {
  Locked locked(state().lock);
  Stream* stream = stream_of(handle);
  note("wait", call);
  if (stream->capture) {
    refuse(stream->capture, std::string(call) + " of a stream being captured");
    return FORBIDDEN_IN_CAPTURE;
  }
  double due = stream->busy_until;
  locked.unlock();
  wait_until(due);
  look_for_races(call);
  return OK;
}

int wait_for_device(const char* call) {
  Locked locked(state().lock);
  note("wait", call);
  for (Graph* capture : state().captures) {
    refuse(capture, std::string(call) + " during a capture");
    return FORBIDDEN_IN_CAPTURE;
  }
  double due = 0;
  for (Stream* stream : state().streams) {
    if (stream->device == current_device()) due = std::max(due, stream->busy_until);
  }
  locked.unlock();
  wait_until(due);
  look_for_races(call);
  return OK;
}

void* new_stream(unsigned flags) {
  Locked locked(state().lock);
  auto* made = new Stream();
  made->device = current_device();
  made->blocking = !(flags & 1);
  state().streams.insert(made);
  return made;
}

void* new_event() { return new Event(); }

int record(void* handle, void* stream_handle) {
  Locked locked(state().lock);
  auto* event = (Event*)handle;
  Stream* stream = stream_of(stream_handle);
  *event = {stream, stream->capture, stream->capture ? 0 : stream->busy_until, true};
  return OK;
}

int wait_for_event(void* handle) {
  Locked locked(state().lock);
  auto* event = (Event*)handle;
  note("wait", "cudaEventSynchronize");
  if (event->capture && state().captures.count(event->capture)) {
    refuse(event->capture, "cudaEventSynchronize of an event of a capture");
    return CAPTURED_EVENT;
  }
  double due = event->due;
  locked.unlock();
  wait_until(due);
  look_for_races("cudaEventSynchronize");
  return OK;
}

int event_done(void* event) { return ((Event*)event)->due > now() ? NOT_READY : OK; }

double event_seconds(void* event) { return ((Event*)event)->due; }

int stream_waits(void* stream_handle, void* event_handle) {
  Locked locked(state().lock);
  Stream* stream = stream_of(stream_handle);
  auto* event = (Event*)event_handle;
  if (event->capture && state().captures.count(event->capture)) {
    if (stream->capture && stream->capture != event->capture) return CAPTURES_MERGED;
    if (!stream->capture) {
      stream->capture = event->capture;
      event->capture->joined.insert(stream);
    }
    return OK;
  }
  if (stream->capture) {
    if (!event->recorded) return OK;
    refuse(stream->capture, "a capture's wait for work from outside it");
    return WAITS_ON_UNCAPTURED;
  }
  stream->busy_until = std::max(stream->busy_until, event->due);
  return OK;
}

}  // namespace null
