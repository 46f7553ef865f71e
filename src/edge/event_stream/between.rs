//! Where one event ends and the next may begin, as the HTML standard has it ("Server-sent events",
//! interpreting an event stream): at an empty line, whichever of the three line ends it has.

/// How far an event stream has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between {
    line: Line,
    /// A line has begun that belongs to an event, and no empty line has come since.
    in_event: bool,
    /// A line feed that comes next belongs to the line that has ended already.
    after_return: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Start,
    Comment,
    Field,
}

impl Between {
    pub(super) fn at_start() -> Self {
        Self {
            line: Line::Start,
            in_event: false,
            after_return: false,
        }
    }

    /// Whether nothing of an event has passed that hasn't wholly passed.
    pub(super) fn is_between(self) -> bool {
        self.line == Line::Start && !self.in_event
    }

    /// Goes on through `bytes`; returns how many of them there are up to the last place between two
    /// events, if there is one behind their first byte.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut last = None;
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if self.line == Line::Start {
                at += 1;
                self.begin_line(byte);
            } else if let Some(end) = memchr::memchr2(b'\n', b'\r', &bytes[at..]) {
                at += end + 1;
                self.line = Line::Start;
                self.after_return = bytes[at - 1] == b'\r';
            } else {
                break;
            }
            if self.is_between() {
                last = Some(at);
            }
        }
        last
    }

    fn begin_line(&mut self, byte: u8) {
        match byte {
            b'\n' if self.after_return => self.after_return = false,
            b'\n' | b'\r' => {
                self.in_event = false;
                self.after_return = byte == b'\r';
            }
            b':' => {
                self.line = Line::Comment;
                self.after_return = false;
            }
            _ => {
                self.line = Line::Field;
                self.in_event = true;
                self.after_return = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_with_an_empty_line() {
        for (stream, expected, is_between, why) in [
            ("", None, true, "nothing yet"),
            ("data: 1", None, false, "within a line"),
            ("data: 1\n", None, false, "an event may have several lines"),
            ("data: 1\n\n", Some(9), true, "an empty line"),
            (
                "data: 1\n\ndata: 2\n",
                Some(9),
                false,
                "the second has begun",
            ),
            (
                "data: 1\n\nid: 7\n\n",
                Some(16),
                true,
                "the last place counts",
            ),
            ("data: 1\r\rdata", Some(9), false, "carriage returns"),
            ("data: 1\r\n\r\ndata", Some(11), false, "both"),
            ("data: 1\r\n", None, false, "one line end, not two"),
            (
                "data: 1\r\n\r",
                Some(10),
                true,
                "its line feed may come or not",
            ),
            (": still here\n", Some(13), true, "a comment is no event"),
            (": still here", None, false, "but is a line"),
            (":\n\n", Some(3), true, "a comment and an empty line"),
            ("data: 1\n: no\n", None, false, "a comment within an event"),
            ("\n\n", Some(2), true, "empty lines"),
        ] {
            let mut whole = Between::at_start();
            assert_eq!(whole.pass(stream.as_bytes()), expected, "{why}");
            assert_eq!(whole.is_between(), is_between, "{why}");
            let mut bytewise = Between::at_start();
            let mut last = None;
            for at in 0..stream.len() {
                if bytewise.pass(&stream.as_bytes()[at..=at]).is_some() {
                    last = Some(at + 1);
                }
            }
            assert_eq!(last, expected, "byte by byte: {why}");
        }
    }
}
