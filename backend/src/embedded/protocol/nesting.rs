//! A bound on how deep tables nest, checked before the codec reads them: it recurses, and a stack has an end.

/// Tables and arrays inside each other. RabbitMQ's own headers nest three deep.
const DEPTH_MAX: usize = 32;

/// Whether the tables of a method's payload nest within the bound. Bytes that are no such method are left to the codec.
pub(super) fn method_is_bounded(payload: &[u8]) -> bool {
    let Some(head) = payload.first_chunk::<4>() else { return true };
    let class = u16::from_be_bytes([head[0], head[1]]);
    let method = u16::from_be_bytes([head[2], head[3]]);
    let mut reader = Reader { bytes: payload, at: 4 };
    // How many short strings and plain bytes stand before the table.
    let (reserved, strings, flags) = match (class, method) {
        (10, 11) => (0, 0, 0),
        (40, 10) => (2, 2, 1),
        (50, 10) => (2, 1, 1),
        (50, 20) => (2, 3, 1),
        (50, 50) => (2, 3, 0),
        (60, 20) => (2, 2, 1),
        _ => return true,
    };
    reader.at += reserved;
    for _ in 0..strings {
        if reader.skip_short_string().is_none() {
            return true;
        }
    }
    reader.at += flags;
    reader.table_is_bounded()
}

/// The same for a content header.
pub(super) fn header_is_bounded(payload: &[u8]) -> bool {
    let Some(head) = payload.first_chunk::<14>() else { return true };
    let flags = u16::from_be_bytes([head[12], head[13]]);
    let mut reader = Reader { bytes: payload, at: 14 };
    for flag in [1 << 15, 1 << 14] {
        if flags & flag != 0 && reader.skip_short_string().is_none() {
            return true;
        }
    }
    flags & (1 << 13) == 0 || reader.table_is_bounded()
}

/// The same for a table that stands alone, its length before it.
pub(super) fn table_is_bounded(bytes: &[u8]) -> bool {
    Reader { bytes, at: 0 }.table_is_bounded()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A table or array that is being read.
struct Open {
    end: usize,
    named: bool,
}

impl Reader<'_> {
    /// Walks the table in the codec's order. Malformed bytes end the walk: the codec stops there as well.
    fn table_is_bounded(&mut self) -> bool {
        let mut open = Vec::new();
        if self.enter(true, &mut open).is_none() {
            return true;
        }
        while let Some(innermost) = open.last() {
            if self.at >= innermost.end {
                open.pop();
                continue;
            }
            if innermost.named && self.skip_short_string().is_none() {
                return true;
            }
            if self.walk_value(&mut open).is_none() {
                return true;
            }
            if open.len() > DEPTH_MAX {
                return false;
            }
        }
        true
    }

    fn walk_value(&mut self, open: &mut Vec<Open>) -> Option<()> {
        let kind = *self.bytes.get(self.at)?;
        self.at += 1;
        let length = match kind {
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'V' => 0,
            b'S' | b'x' => self.length()?,
            b'F' => return self.enter(true, open),
            b'A' => return self.enter(false, open),
            _ => return None,
        };
        self.at = self.at.checked_add(length)?;
        Some(())
    }

    fn enter(&mut self, named: bool, open: &mut Vec<Open>) -> Option<()> {
        let length = self.length()?;
        let end = self.at.checked_add(length)?;
        if end > self.bytes.len() {
            return None;
        }
        open.push(Open { end, named });
        Some(())
    }

    fn length(&mut self) -> Option<usize> {
        let length = self.bytes.get(self.at..)?.first_chunk::<4>()?;
        self.at += 4;
        usize::try_from(u32::from_be_bytes(*length)).ok()
    }

    fn skip_short_string(&mut self) -> Option<()> {
        let length = usize::from(*self.bytes.get(self.at)?);
        self.at += 1 + length;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        let mut value = vec![b'V'];
        for _ in 0..depth {
            let mut outer = vec![b'A'];
            outer.extend((value.len() as u32).to_be_bytes());
            outer.append(&mut value);
            value = outer;
        }
        let mut table = vec![1, b'k'];
        table.append(&mut value);
        let mut whole = (table.len() as u32).to_be_bytes().to_vec();
        whole.append(&mut table);
        whole
    }

    #[test]
    fn deep_tables_are_refused_and_shallow_ones_are_not() {
        for (depth, bounded) in [(0, true), (3, true), (31, true), (32, false), (20_000, false)] {
            assert_eq!(table_is_bounded(&nested(depth)), bounded, "{depth}");
            let mut start_ok = vec![0, 10, 0, 11];
            start_ok.extend(nested(depth));
            assert_eq!(method_is_bounded(&start_ok), bounded);
            let mut declare = vec![0, 50, 0, 10, 0, 0, 1, b'q', 0];
            declare.extend(nested(depth));
            assert_eq!(method_is_bounded(&declare), bounded);
            let mut header = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0b1010_0000, 0, 1, b't'];
            header.extend(nested(depth));
            assert_eq!(header_is_bounded(&header), bounded);
        }
    }
}
