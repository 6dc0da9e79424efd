//! CPU time and memory of a process and everything it started.

use std::fs;

use anyhow::{Context as _, anyhow, bail};

/// A process tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    roots: Vec<u32>,
}

/// CPU time of a process tree since its start, of ended children too.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuTime {
    /// Seconds in the program.
    pub user: f64,
    /// Seconds in the kernel.
    pub kernel: f64,
}

impl CpuTime {
    /// Both.
    pub fn total(self) -> f64 {
        self.user + self.kernel
    }

    /// What was added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            kernel: self.kernel - earlier.kernel,
        }
    }
}

impl Server {
    /// The process with this id, and what it started.
    pub fn of_pid(pid: u32) -> anyhow::Result<Self> {
        let server = Self { roots: vec![pid] };
        match server.processes().is_empty() {
            true => bail!("there is no process {pid}"),
            false => Ok(server),
        }
    }

    /// Reads a process id, or `name=NAME` for every process of that name.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let Some(name) = text.strip_prefix("name=") else {
            let pid = text
                .parse()
                .map_err(|_| anyhow!("--server is a process id or name=NAME, not {text}"))?;
            return Self::of_pid(pid);
        };
        let named = |pid: &u32| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            // The kernel keeps 15 bytes of a name.
            comm.trim_end() == name.get(..15).unwrap_or(name)
        };
        let entries = fs::read_dir("/proc").context("read /proc")?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let roots: Vec<u32> = pids.filter(named).collect();
        match roots.is_empty() {
            true => bail!("there is no process called {name}"),
            false => Ok(Self { roots }),
        }
    }

    /// CPU time until now; none where the processes are gone.
    pub fn cpu(&self) -> Option<CpuTime> {
        let times = self.processes().into_iter().filter_map(cpu_of);
        times.reduce(|a, b| CpuTime {
            user: a.user + b.user,
            kernel: a.kernel + b.kernel,
        })
    }

    /// Resident memory in KiB; what processes share is shared out among them.
    pub fn rss_kib(&self) -> Option<u64> {
        let sizes = self.processes().into_iter().filter_map(rss_of);
        sizes.reduce(|a, b| a + b)
    }

    /// Every process of the tree that is alive, each once.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut open = self.roots.clone();
        while let Some(pid) = open.pop() {
            if found.contains(&pid) || !fs::exists(format!("/proc/{pid}/stat")).unwrap_or(false) {
                continue;
            }
            found.push(pid);
            open.extend(children_of(pid));
        }
        found
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let pids = lists.iter().flat_map(|list| list.split_ascii_whitespace());
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// Its own time and that of children it has waited for, which nobody else counts any more.
fn cpu_of(pid: u32) -> Option<CpuTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = ticks_in(&stat)?;
    let second = rustix::param::clock_ticks_per_second() as f64;
    let [user, kernel, children_user, children_kernel] = ticks.map(|ticks| ticks as f64 / second);
    Some(CpuTime {
        user: user + children_user,
        kernel: kernel + children_kernel,
    })
}

/// `utime stime cutime cstime`, fields 14 to 17 of `/proc/PID/stat`.
fn ticks_in(stat: &str) -> Option<[u64; 4]> {
    // The name is in brackets and may hold anything, brackets too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?, next()?])
}

fn rss_of(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_process_is_refused() {
        for wrong in ["none", "-1", "name=", "name=no-such-process", "4194304999"] {
            assert!(Server::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1";
        assert_eq!(ticks_in(stat), Some([50, 60, 70, 80]));
        assert_eq!(ticks_in("7 (a) S 1"), None);
    }

    #[test]
    fn time_spent_by_a_child_is_seen_while_it_runs_and_after_it_ended() {
        let server = Server::of_pid(std::process::id()).unwrap();
        let before = server.cpu().unwrap();
        let mut child = std::process::Command::new("sh")
            .args([
                "-c",
                "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read end",
            ])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let spent = || server.cpu().unwrap().since(before).total();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while spent() < 0.03 {
            assert!(std::time::Instant::now() < end, "its time is not seen");
            std::thread::yield_now();
        }
        assert!(server.processes().contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(spent() >= 0.03);
        assert!(server.rss_kib().unwrap() > 500);
    }
}
