"""Speed and memory: seeded workloads, a process an engine, engines that take turns, the machine's peak."""
