//! Looking at 64 bytes of JSON at a time, as bit masks.

use wide::u8x16;

use super::JsonError;

/// Levels of nesting that a skipped member may have. Kubernetes objects stay far below.
const DEPTH_MAX: u32 = 1000;
const LANES: usize = 16;
const BLOCK: usize = 4 * LANES;

/// Length of the object or array that `text` begins with, to the bracket that closes it.
pub(super) fn nested_length(text: &[u8]) -> Result<usize, JsonError> {
    let (mut depth, mut state) = (0, Strings::default());
    let mut rest = text;
    while !rest.is_empty() {
        let mut padded = [b' '; BLOCK];
        let (block, after) = rest.split_first_chunk::<BLOCK>().unwrap_or_else(|| {
            padded[..rest.len()].copy_from_slice(rest);
            (&padded, &[])
        });
        let masks = Masks::of(block);
        let outside = !state.inside(&masks);
        let (mut opens, mut closes) = (masks.opens & outside, masks.closes & outside);
        if opens | closes == 0 {
            // Within a long text.
        } else if closes.count_ones() < depth {
            depth = depth + opens.count_ones() - closes.count_ones();
        } else {
            // The end may be in this block: bracket by bracket.
            while opens | closes != 0 {
                let next = (opens | closes).trailing_zeros();
                if opens & 1 << next != 0 {
                    depth += 1;
                    opens &= opens - 1;
                } else {
                    depth -= 1;
                    closes &= closes - 1;
                    if depth == 0 {
                        return Ok(text.len() - rest.len() + next as usize + 1);
                    }
                }
            }
        }
        if depth > DEPTH_MAX {
            return Err(JsonError::new(format!("nested over {DEPTH_MAX} levels deep")));
        }
        rest = after;
    }
    Err(JsonError::new("an object or array does not end"))
}

/// Length of the run that holds no quote, backslash or control character.
pub(super) fn string_run(bytes: &[u8]) -> usize {
    let special = |b: u8| b == b'"' || b == b'\\' || b < 0x20;
    let mut at = 0;
    while let Some(lanes) = bytes[at..].first_chunk::<LANES>() {
        let lanes = u8x16::new(*lanes);
        let hit = lanes.simd_eq(u8x16::splat(b'"'))
            | lanes.simd_eq(u8x16::splat(b'\\'))
            | lanes.simd_le(u8x16::splat(0x1f));
        match hit.to_bitmask() {
            0 => at += LANES,
            mask => return at + mask.trailing_zeros() as usize,
        }
    }
    at + bytes[at..].iter().position(|b| special(*b)).unwrap_or(bytes.len() - at)
}

/// Where the characters are that matter, a bit a byte.
struct Masks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
}

impl Masks {
    #[inline]
    fn of(block: &[u8; BLOCK]) -> Self {
        let mut masks = Self { quotes: 0, backslashes: 0, opens: 0, closes: 0 };
        let lanes = block.as_chunks::<LANES>().0;
        let escapes = |lanes: &[u8; LANES]| u8x16::new(*lanes).simd_eq(u8x16::splat(b'\\'));
        let escaping = lanes.iter().map(escapes).fold(u8x16::ZERO, |any, hits| any | hits).to_bitmask() != 0;
        for (n, lanes) in lanes.iter().enumerate() {
            let lanes = u8x16::new(*lanes);
            // `[` and `{`, `]` and `}` differ by this bit alone.
            let folded = lanes | u8x16::splat(0x20);
            let bits = |hits: u8x16| u64::from(hits.to_bitmask()) << (n * LANES);
            masks.quotes |= bits(lanes.simd_eq(u8x16::splat(b'"')));
            // Most blocks hold none.
            if escaping {
                masks.backslashes |= bits(lanes.simd_eq(u8x16::splat(b'\\')));
            }
            masks.opens |= bits(folded.simd_eq(u8x16::splat(b'{')));
            masks.closes |= bits(folded.simd_eq(u8x16::splat(b'}')));
        }
        masks
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
    #[inline]
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
    #[inline]
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
