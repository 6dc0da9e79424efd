//! What the load generator itself spends, and where it may.

use std::time::Duration;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread.
pub fn thread_cpu() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

/// CPU time of this process.
pub fn process_cpu() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::try_from(now).unwrap_or_default()
}

/// Leaves this thread, and those it starts, only these cores.
pub fn pin(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores.iter().filter(|core| **core < CpuSet::MAX_CPU) {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("run on cores {cores:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_is_not_there_is_refused() {
        let error = std::thread::spawn(|| pin(&[1_023]))
            .join()
            .unwrap()
            .unwrap_err();
        assert!(error.to_string().contains("run on cores [1023]"));
    }

    #[test]
    fn time_that_is_spent_is_seen() {
        let before = thread_cpu();
        while thread_cpu() - before < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        assert!(process_cpu() >= Duration::from_millis(2));
    }
}
