// What the parts of the device share: streams, captures, and what has been noted.
#pragma once
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "device.h"

namespace null {

struct Node {
  std::string kind, name;
};

struct Stream;

struct Graph {
  unsigned long long id = 0;
  int mode = 0;
  bool valid = true;
  std::thread::id thread;
  Stream* origin = nullptr;
  std::set<Stream*> joined;  // streams that waited for the origin: they are captured with it
  std::vector<Node> nodes;
};

struct Stream {
  int device = 0;
  bool blocking = true;  // the legacy stream waits for it
  Graph* capture = nullptr;
  double busy_until = 0;
};

struct Event {
  Stream* stream = nullptr;
  Graph* capture = nullptr;
  double due = 0;
  bool recorded = false;
};

constexpr int MOST_DEVICES = 8;

struct State {
  std::recursive_mutex lock;
  Stream legacy[MOST_DEVICES];
  std::set<Stream*> streams;
  std::set<Graph*> captures;  // under way
  std::map<std::string, std::map<std::string, long>> notes;
  double kernel_seconds = 0;
};

State& state();
Stream* stream_of(void* handle);
double now();
void wait_until(double due);
void look_for_races(const char* where);  // pinned memory written before its copy was due
void refuse(Graph* capture, const std::string& what);

using Locked = std::unique_lock<std::recursive_mutex>;

}  // namespace null
