//! What several benches need.

/// Whether every function runs once only, to see that it works: cargo says `--bench` where it is to be measured.
pub(crate) fn is_brief() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}
