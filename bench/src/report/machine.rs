//! The machine a report was made on, from what the kernel tells.

use std::fs;
use std::thread;

use super::model::Machine;

impl Machine {
    /// This machine. What it does not tell is "unknown".
    pub fn here() -> Self {
        let system = rustix::system::uname();
        Self {
            cpu: value_in("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(1, Into::into),
            kernel: system.release().to_string_lossy().into_owned(),
            os: value_in("/etc/os-release", "PRETTY_NAME").unwrap_or_else(unknown),
            load_tool: concat!("portcullis-bench ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// What stands behind a name and `:` or `=` in a file, without quotes.
fn value_in(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once([':', '='])?;
        (found.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_is_none() {
        assert_eq!(value_in("/nowhere", "model name"), None);
        assert_eq!(value_in("/etc/os-release", "NO_SUCH_NAME"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_core() {
        let machine = Machine::here();
        assert!(!machine.kernel.is_empty());
        assert!(machine.cores > 0);
    }
}
