//! Quotation marks as they stand in a text: of either kind, and behind the backslashes that they got where one
//! text was written into another.

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Quote {
    /// `"` or `'`.
    pub(super) mark: u8,
    /// How many backslashes stand before it.
    pub(super) depth: usize,
}

impl Quote {
    /// `"`.
    pub(super) const PLAIN: Self = Self {
        mark: b'"',
        depth: 0,
    };

    /// The one that `text` begins with.
    pub(super) fn at_start_of(text: &[u8]) -> Option<Self> {
        let depth = text.iter().take_while(|byte| **byte == b'\\').count();
        let mark = *text.get(depth)?;
        is_mark(mark).then_some(Self { mark, depth })
    }

    /// The one that `text` ends with.
    pub(super) fn at_end_of(text: &[u8]) -> Option<Self> {
        let (&mark, before) = text.split_last()?;
        let depth = backslashes_at_end_of(before);
        is_mark(mark).then_some(Self { mark, depth })
    }

    /// Bytes of it and its backslashes.
    pub(super) fn len(self) -> usize {
        self.depth + 1
    }

    /// Whether it may be an apostrophe.
    pub(super) fn is_single(self) -> bool {
        self.mark == b'\''
    }
}

/// How many backslashes `text` ends with.
pub(super) fn backslashes_at_end_of(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

fn is_mark(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'')
}
