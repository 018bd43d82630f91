//! Looking at 64 bytes of JSON at a time, as bit masks.

// What is inlined into `dispatch!` is compiled once for each set of instructions.
#![allow(clippy::inline_always)]

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x16, u8x64};

use super::JsonError;

/// Levels of nesting that a skipped member may have. Kubernetes objects stay far below.
const DEPTH_MAX: u32 = 1000;
const BLOCK: usize = 64;

/// Length of the object or array that `text` begins with, to the bracket that closes it.
pub(super) fn nested_length(level: Level, text: &[u8]) -> Result<usize, JsonError> {
    dispatch!(level, simd => length_of_nested(simd, text))
}

#[inline(always)]
fn length_of_nested<S: Simd>(simd: S, text: &[u8]) -> Result<usize, JsonError> {
    let (mut depth, mut state) = (0, Strings::default());
    let mut rest = text;
    while !rest.is_empty() {
        let padded;
        let (block, after) = if let Some(split) = rest.split_first_chunk::<BLOCK>() {
            split
        } else {
            padded = pad(rest);
            (&padded, &[][..])
        };
        let masks = Masks::of(simd, block);
        let outside = !state.inside(&masks);
        let (opens, closes) = (masks.opens & outside, masks.closes & outside);
        if closes.count_ones() >= depth
            && let Some(end) = end(depth, opens, closes)
        {
            return Ok(text.len() - rest.len() + end + 1);
        }
        depth = depth + opens.count_ones() - closes.count_ones();
        if depth > DEPTH_MAX {
            return Err(JsonError::new(format!("nested over {DEPTH_MAX} levels deep")));
        }
        rest = after;
    }
    Err(JsonError::new("an object or array does not end"))
}

/// Where the bracket is that closes the last of `depth` and of those that open before it.
#[inline(always)]
fn end(depth: u32, opens: u64, mut closes: u64) -> Option<usize> {
    let mut count = 0;
    while closes != 0 {
        let at = closes.trailing_zeros();
        count += 1;
        if depth + (opens & ((1 << at) - 1)).count_ones() == count {
            return Some(at as usize);
        }
        closes &= closes - 1;
    }
    None
}

/// The last bytes of a text as a block.
#[cold]
fn pad(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [b' '; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    block
}

/// Length of the run that holds no quote, backslash or control character. Most are shorter than 16 bytes, too short
/// for larger steps.
pub(super) fn string_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk() {
        match short_run(block) {
            None => at += block.len(),
            Some(length) => return at + length,
        }
    }
    let special = |b: u8| b == b'"' || b == b'\\' || b < 0x20;
    at + bytes[at..].iter().position(|b| special(*b)).unwrap_or(bytes.len() - at)
}

/// The same within 16 bytes; `None` if it is all of them.
#[inline(always)]
pub(super) fn short_run(bytes: &[u8; 16]) -> Option<usize> {
    dispatch!(Level::baseline(), simd => {
        let lanes = u8x16::simd_from(simd, *bytes);
        let special = lanes.simd_eq(b'"') | lanes.simd_eq(b'\\') | lanes.simd_le(0x1f);
        let mask = special.to_bitmask();
        (mask != 0).then_some(mask.trailing_zeros() as usize)
    })
}

/// Where the characters are that matter, a bit a byte.
struct Masks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
}

impl Masks {
    #[inline(always)]
    fn of<S: Simd>(simd: S, block: &[u8; BLOCK]) -> Self {
        let bytes = u8x64::simd_from(simd, *block);
        // `[` and `{`, `]` and `}` differ by this bit alone.
        let folded = bytes | 0x20;
        Self {
            quotes: bytes.simd_eq(b'"').to_bitmask(),
            backslashes: bytes.simd_eq(b'\\').to_bitmask(),
            opens: folded.simd_eq(b'{').to_bitmask(),
            closes: folded.simd_eq(b'}').to_bitmask(),
        }
    }
}

/// What one block leaves for the next.
#[derive(Default)]
struct Strings {
    /// All ones while a string goes on.
    open: u64,
    /// 1 where the first byte is escaped.
    escape: u64,
}

impl Strings {
    /// The bytes within strings, their opening quotes included.
    #[inline(always)]
    fn inside(&mut self, masks: &Masks) -> u64 {
        let quotes = masks.quotes & !self.escaped(masks.backslashes);
        // Every bit becomes the parity of the quotes up to it.
        let mut inside = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << shift;
        }
        inside ^= self.open;
        self.open = 0_u64.wrapping_sub(inside >> 63);
        inside
    }

    /// The bytes behind an odd run of backslashes.
    #[inline(always)]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = std::mem::take(&mut self.escape);
        let mut active = backslashes & !escaped;
        while active != 0 {
            let at = active.trailing_zeros();
            let next = 2_u64 << at;
            self.escape = u64::from(next == 0);
            escaped |= next;
            active &= !(1 << at | next);
        }
        escaped
    }
}
