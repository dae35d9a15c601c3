#include "pool.hpp"

#include <atomic>
#include <exception>
#include <memory>

namespace tinyrerank {

namespace {

constexpr int kSpins = 200;  // a few microseconds

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

struct Pool::Job {
  struct alignas(64) Counter {
    std::atomic<int> next{0}, done{0};
  };

  explicit Job(std::span<const Phase> p) : phases(p), counters(new Counter[p.size()]) {}

  void participate(int thread) {
    for (size_t i = 0; i < phases.size(); ++i) {
      const Phase& phase = phases[i];
      Counter& counter = counters[i];
      for (int task; (task = counter.next.fetch_add(1, std::memory_order_relaxed)) < phase.tasks;) {
        try {
          phase.run(task, thread);
        } catch (...) {
          std::lock_guard lock(error_mutex);
          if (!error) error = std::current_exception();
        }
        if (counter.done.fetch_add(1, std::memory_order_acq_rel) + 1 == phase.tasks) counter.done.notify_all();
      }
      wait(counter.done, phase.tasks);
    }
  }

  static void wait(std::atomic<int>& done, int tasks) {
    for (int i = 0; i < kSpins; ++i) {
      if (done.load(std::memory_order_acquire) >= tasks) return;
      relax();
    }
    for (int seen; (seen = done.load(std::memory_order_acquire)) < tasks;) done.wait(seen);
  }

  std::span<const Phase> phases;
  std::unique_ptr<Counter[]> counters;
  int inside = 0;  // workers at work on it, under the pool's mutex
  std::mutex error_mutex;
  std::exception_ptr error;
};

Pool::Pool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

Pool::~Pool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::run(std::span<const Phase> phases) {
  Job job(phases);
  if (!workers_.empty()) {
    std::lock_guard lock(mutex_);
    job_ = &job;
    ++epoch_;
    wake_.notify_all();
  }
  job.participate(0);
  if (!workers_.empty()) {
    std::unique_lock lock(mutex_);
    job_ = nullptr;  // who has not come yet need not
    left_.wait(lock, [&] { return job.inside == 0; });
  }
  if (job.error) std::rethrow_exception(job.error);
}

void Pool::work(int thread) {
  unsigned long seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stop_ || (job_ && epoch_ != seen); });
    if (stop_) return;
    seen = epoch_;
    Job* job = job_;
    ++job->inside;
    lock.unlock();
    job->participate(thread);
    lock.lock();
    if (--job->inside == 0) left_.notify_one();
  }
}

}  // namespace tinyrerank
