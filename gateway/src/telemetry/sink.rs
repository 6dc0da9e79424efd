//! From a worker's buffer to a file, without a wait on the worker.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use portcullis_config::LogTarget;
use prometheus_client::metrics::counter::Counter;

/// Chunks that may wait for the disk; with [`CHUNK_BYTES`] this bounds a stream's memory to 16 MiB.
const QUEUE_CHUNKS: usize = 256;
/// How long the end of the process waits for a log.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// A worker hands its lines over at this size, or at the next tick.
const CHUNK_BYTES: usize = 64 * 1024;

enum Message {
    Lines(Vec<u8>, u64),
    Reopen,
    Flush(SyncSender<()>),
}

/// One log stream with its writer thread. Cheap to clone.
#[derive(Clone)]
pub struct LogSink {
    queue: Option<SyncSender<Message>>,
    dropped: Counter,
}

impl LogSink {
    /// Opens the target and starts the writer. `dropped` counts lines that found the queue full.
    pub fn open(target: &LogTarget, dropped: Counter) -> io::Result<Self> {
        let output = match target {
            LogTarget::Off => {
                return Ok(Self {
                    queue: None,
                    dropped,
                });
            }
            LogTarget::Stdout => Output::Stream(Box::new(io::stdout())),
            LogTarget::Stderr => Output::Stream(Box::new(io::stderr())),
            LogTarget::File(path) => Output::File(path.clone(), append(path)?),
        };
        let (queue, messages) = sync_channel(QUEUE_CHUNKS);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(output, &messages))?;
        Ok(Self {
            queue: Some(queue),
            dropped,
        })
    }

    /// Opens the file anew (log rotation, SIGUSR1). Streams are left alone.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue {
            // A full queue means a writer that is stuck; it must not stick the control thread, too.
            if queue.try_send(Message::Reopen).is_err() {
                tracing::error!("a log writer does not keep up; its file was not reopened");
            }
        }
    }

    /// Waits until everything handed over so far is written, at most two seconds. Blocks: for the end
    /// of the process.
    pub fn flush(&self) {
        if let Some(queue) = &self.queue {
            let (done, wait) = sync_channel(1);
            if queue.try_send(Message::Flush(done)).is_ok() {
                let _ = wait.recv_timeout(FLUSH_LIMIT); // The end comes, written or not.
            }
        }
    }

    fn send(&self, lines: Vec<u8>, count: u64) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            queue.try_send(Message::Lines(lines, count))
        {
            self.dropped.inc_by(count);
        }
    }
}

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogSink")
            .field("on", &self.queue.is_some())
            .finish()
    }
}

/// A worker's own lines, not yet handed over.
#[derive(Debug)]
pub struct LineBuffer {
    sink: LogSink,
    lines: RefCell<(Vec<u8>, u64)>,
}

impl LineBuffer {
    /// An empty buffer in front of a stream.
    pub fn new(sink: LogSink) -> Self {
        Self {
            sink,
            lines: RefCell::default(),
        }
    }

    /// Whether lines go anywhere, so that callers can save the work of making them.
    pub fn is_on(&self) -> bool {
        self.sink.queue.is_some()
    }

    /// Appends one line that `put` writes, without its end.
    pub fn append(&self, put: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_on() {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        put(&mut lines.0);
        lines.0.push(b'\n');
        lines.1 += 1;
        if lines.0.len() >= CHUNK_BYTES {
            drop(lines);
            self.hand_over();
        }
    }

    /// Hands the lines to the writer; called by a tick of the worker and at its end.
    pub fn hand_over(&self) {
        let mut lines = self.lines.borrow_mut();
        if lines.1 == 0 {
            return;
        }
        let capacity = lines.0.len().next_power_of_two().min(CHUNK_BYTES * 2);
        let full = std::mem::replace(&mut lines.0, Vec::with_capacity(capacity));
        let count = std::mem::take(&mut lines.1);
        self.sink.send(full, count);
    }
}

enum Output {
    Stream(Box<dyn Write + Send>),
    File(PathBuf, File),
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_all(mut output: Output, messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Lines(lines, count) => {
                let written = match &mut output {
                    Output::Stream(stream) => {
                        stream.write_all(&lines).and_then(|()| stream.flush())
                    }
                    Output::File(_, file) => file.write_all(&lines),
                };
                if let Err(error) = written {
                    tracing::warn!(%error, lines = count, "log lines could not be written");
                }
            }
            Message::Reopen => {
                if let Output::File(path, file) = &mut output {
                    match append(path) {
                        Ok(fresh) => *file = fresh,
                        Err(error) => {
                            tracing::error!(%error, path = %path.display(), "log file could not be reopened")
                        }
                    }
                }
            }
            Message::Flush(done) => drop(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_the_file_and_a_reopen_starts_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let sink = LogSink::open(&LogTarget::File(path.clone()), Counter::default()).unwrap();
        let buffer = LineBuffer::new(sink.clone());
        buffer.append(|lines| lines.extend_from_slice(b"{\"a\":1}"));
        buffer.hand_over();
        sink.flush();
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        sink.reopen();
        buffer.append(|lines| lines.extend_from_slice(b"{\"a\":2}"));
        buffer.hand_over();
        sink.flush();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("access.log.1")).unwrap(),
            "{\"a\":1}\n"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":2}\n");
    }
}
