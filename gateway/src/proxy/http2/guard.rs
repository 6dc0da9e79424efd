//! What hyper lets a client do over HTTP/2 and the gateway does not.
//!
//! Promises: the first frame is SETTINGS (RFC 9113, section 3.4), no trailer section has a pseudo-header field that stands
//! in it by name (section 8.1), and frames that ask for work and bring nothing (SETTINGS, PING, PRIORITY, WINDOW_UPDATE,
//! RST_STREAM, CONTINUATION, empty DATA, unknown ones) come no faster than [`RATE`], a burst and what the answers earn
//! aside. It looks at each byte of a frame's head and skips its payload; nothing is allocated, and the clock is read once
//! in [`BURST`] such frames.

use tokio::time::Instant;

use super::trailers::Section;

/// Frames that may come at once.
const BURST: u32 = 1_000;
/// Frames a second that are always paid for.
const RATE: f64 = 100.0;
/// Bytes of answers that pay for a frame: whoever downloads acknowledges what it got, up to twice for each DATA frame.
const BYTES_A_FRAME: u64 = 48;
/// What a RST_STREAM counts: a request was begun for nothing.
const RESET_COST: u32 = 4;

const PREFACE: u32 = 24;
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Why a connection does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The preface is not followed by SETTINGS.
    NoSettings,
    /// A trailer section with a pseudo-header field.
    PseudoTrailer,
    /// More frames than anybody needs.
    Flood,
}

impl Wrong {
    /// The error code of the GOAWAY (RFC 9113, section 7).
    pub(super) fn code(self) -> u32 {
        match self {
            Self::NoSettings | Self::PseudoTrailer => 0x1,
            Self::Flood => 0xb,
        }
    }

    /// For the refusal log.
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::NoSettings => "the first frame is not SETTINGS",
            Self::PseudoTrailer => "a pseudo-header field in trailers",
            Self::Flood => "frames that ask for work and bring nothing",
        }
    }
}

/// Follows the frames of one client.
#[derive(Debug)]
pub(super) struct Guard {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    have: usize,
    /// Bytes to come of a payload, or of the preface.
    left: u32,
    begun: bool,
    /// The highest stream that was opened.
    highest: u32,
    /// A trailer section in progress.
    section: Option<Section>,
    debt: u32,
    /// Bytes sent since frames were last paid for.
    sent: u64,
    since: Option<Instant>,
}

impl Guard {
    pub(super) fn new() -> Self {
        Self {
            head: [0; HEAD],
            have: 0,
            left: PREFACE,
            begun: false,
            highest: 0,
            section: None,
            debt: 0,
            sent: 0,
            since: None,
        }
    }

    /// So many bytes were sent to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The highest stream that was opened.
    pub(super) fn highest(&self) -> u32 {
        self.highest
    }

    /// Looks at bytes that follow those before.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = bytes.len().min(self.left as usize);
                let (payload, rest) = bytes.split_at(here);
                if let Some(section) = &mut self.section
                    && section.has_pseudo(payload)
                {
                    return Err(Wrong::PseudoTrailer);
                }
                self.left -= here as u32;
                bytes = rest;
                continue;
            }
            let here = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + here].copy_from_slice(&bytes[..here]);
            self.have += here;
            bytes = &bytes[here..];
            if self.have == HEAD {
                self.have = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// A frame begins.
    fn frame(&mut self) -> Result<(), Wrong> {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        if !self.begun && kind != SETTINGS {
            return Err(Wrong::NoSettings);
        }
        self.begun = true;
        match kind {
            HEADERS if stream > self.highest => {
                self.highest = stream;
                self.section = None;
            }
            HEADERS => self.section = Some(Section::new(self.left, flags)),
            CONTINUATION => {
                if let Some(section) = &mut self.section {
                    section.goes_on(self.left);
                }
            }
            _ => self.section = None,
        }
        match kind {
            HEADERS => {}
            DATA if self.left > 0 || flags & END_STREAM != 0 => {}
            CONTINUATION if flags & END_HEADERS != 0 => {}
            RST_STREAM => self.owe(RESET_COST)?,
            _ => self.owe(1)?,
        }
        Ok(())
    }

    /// Takes note of a frame that brings nothing.
    fn owe(&mut self, cost: u32) -> Result<(), Wrong> {
        self.debt += cost;
        if self.debt < BURST {
            return Ok(());
        }
        let now = Instant::now();
        let since = self.since.replace(now);
        let waited = since.map_or(0.0, |since| (now - since).as_secs_f64());
        // As `u32` either saturates.
        let paid = (waited * RATE) as u32;
        let earned = u32::try_from(self.sent / BYTES_A_FRAME).unwrap_or(u32::MAX);
        self.debt = self.debt.saturating_sub(paid).saturating_sub(earned);
        self.sent = 0;
        match self.debt < BURST {
            true => Ok(()),
            false => Err(Wrong::Flood),
        }
    }
}
