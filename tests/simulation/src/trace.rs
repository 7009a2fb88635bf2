//! What happened, line by line: when is hashed always, and what is printed if wanted. Every moment is drawn by chance, in microseconds, as
//! often as anything happens, so two runs that differ in anything differ in that soon; to write every line would cost a tenth of a run.

use std::fmt;

use crate::time::{Micros, SECOND};

/// The trace of one run. Two runs of a seed are the same run exactly if their hashes are.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    prints: bool,
    lines: u64,
}

/// FNV-1a, 64 bits: its two constants.
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

impl Trace {
    pub(crate) fn new(prints: bool) -> Self {
        Self { hash: OFFSET_BASIS, prints, lines: 0 }
    }

    pub(crate) fn note(&mut self, at: Micros, what: fmt::Arguments<'_>) {
        self.hash = fnv(self.hash, &at.to_le_bytes());
        self.lines += 1;
        if self.prints {
            print_line(&format!("{:>4}.{:06} {what}", at / SECOND, at % SECOND));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }
}

/// A short name for bytes.
pub(crate) fn digest(bytes: &[u8]) -> u32 {
    let hash = fnv(OFFSET_BASIS, bytes);
    (hash >> 32) as u32 ^ hash as u32
}

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[expect(clippy::print_stdout, reason = "a trace that is asked for is what the program is run for")]
fn print_line(line: &str) {
    println!("{line}");
}
