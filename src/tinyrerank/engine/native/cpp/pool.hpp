// A few threads that work through phases of independent tasks.
//
// Tasks are taken from a counter and a phase ends when its last task is done, so a thread that the system delays, or
// that wakes late, holds nobody up unless it holds a task. Waiting is passive after a few microseconds.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace tinyrerank {

class Pool {
 public:
  struct Phase {
    int tasks;
    std::function<void(int task, int thread)> run;
  };

  explicit Pool(int threads);  // the calling thread counts as one
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs the phases one after the other. Rethrows the first exception of a task. One caller at a time.
  void run(std::span<const Phase> phases);

 private:
  struct Job;
  void work(int thread);

  std::mutex mutex_;
  std::condition_variable wake_, left_;
  Job* job_ = nullptr;
  unsigned long epoch_ = 0;
  bool stop_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace tinyrerank
