// Captures and graphs, and the notes as the tests read them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "state.h"

namespace null {

static unsigned long long captures_begun = 0;

int begin_capture(void* handle, int mode) {
  Locked locked(state().lock);
  Stream* stream = stream_of(handle);
  if (stream == &state().legacy[stream->device]) {
    note("forbidden", "a capture of the legacy stream");
    return FORBIDDEN_IN_CAPTURE;
  }
  if (stream->capture) return CAPTURE_INVALIDATED;
  auto* graph = new Graph();
  graph->id = ++captures_begun;
  graph->mode = mode;
  graph->thread = std::this_thread::get_id();
  graph->origin = stream;
  stream->capture = graph;
  state().captures.insert(graph);
  return OK;
}

int end_capture(void* handle, void** graph) {
  Locked locked(state().lock);
  Stream* stream = stream_of(handle);
  Graph* capture = stream->capture;
  *graph = nullptr;
  if (!capture) return NOT_CAPTURING;
  for (Stream* other : capture->joined) other->capture = nullptr;
  stream->capture = nullptr;
  state().captures.erase(capture);
  if (!capture->valid) return CAPTURE_INVALIDATED;
  *graph = capture;
  note("capture", capture->nodes.empty() ? "empty" : "with nodes");
  return OK;
}

int capture_status(void* handle, unsigned long long* id, void** graph) {
  Locked locked(state().lock);
  Graph* capture = stream_of(handle)->capture;
  if (id) *id = capture ? capture->id : 0;
  if (graph) *graph = capture;
  return !capture ? 0 : capture->valid ? 1 : 2;
}

int instantiate(void** executable, void* graph) {
  *executable = new std::vector<Node>(((Graph*)graph)->nodes);
  return OK;
}

int replay(void* executable, void* handle) {
  Locked locked(state().lock);
  Stream* stream = stream_of(handle);
  auto& nodes = *(std::vector<Node>*)executable;
  if (stream->capture) {
    stream->capture->nodes.insert(stream->capture->nodes.end(), nodes.begin(), nodes.end());
    return OK;
  }
  note("replay", "graph");
  for (const Node& node : nodes) state().notes["graph " + node.kind][node.name]++;
  stream->busy_until = std::max(stream->busy_until, now()) + nodes.size() * state().kernel_seconds;
  return OK;
}

size_t nodes(void* graph) { return ((Graph*)graph)->nodes.size(); }

// For the tests: forget what was noted; write it as lines of kind, number and name; seconds that a kernel takes.
extern "C" void null_forget() {
  Locked locked(state().lock);
  state().notes.clear();
}

extern "C" int null_write(const char* path) {
  Locked locked(state().lock);
  FILE* file = fopen(path, "w");
  if (!file) return 1;
  for (auto& [kind, names] : state().notes) {
    for (auto& [name, number] : names) fprintf(file, "%s\t%ld\t%s\n", kind.c_str(), number, name.c_str());
  }
  return fclose(file);
}

extern "C" void null_kernel_seconds(double seconds) { state().kernel_seconds = seconds; }

}  // namespace null
