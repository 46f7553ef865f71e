//! Where the frames of one direction of a WebSocket begin and end (RFC 6455, section 5.2). Payloads are
//! passed over by their length, not looked at.

/// Longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL: u64 = 125;

/// Who sends the frames, which tells whether they have to be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// A place in a stream of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Between two frames: a control frame may stand here.
    Frame,
    /// Between two messages.
    Message,
}

/// How far a stream of frames has come. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    sender: Sender,
    /// What is there of the head of the frame that has begun.
    head: [u8; 14],
    length: usize,
    /// Bytes of its payload that are still to come.
    payload: u64,
    /// A fragment has passed, and the last one of its message has not.
    in_message: bool,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More frames may come.
    Open,
    /// The head of a Close frame has passed, its payload perhaps not yet.
    Closing,
    /// A Close frame has passed: nothing more comes.
    Closed,
    /// These are no frames. Nobody knows where anything begins from here on.
    Lost,
}

impl Frames {
    pub(super) fn of(sender: Sender) -> Self {
        Self {
            sender,
            head: [0; 14],
            length: 0,
            payload: 0,
            in_message: false,
            end: End::Open,
        }
    }

    /// Whether a Close frame has passed.
    pub(super) fn is_closed(&self) -> bool {
        self.end == End::Closed
    }

    /// Whether another frame may be put in here.
    pub(super) fn is_at(&self, place: Place) -> bool {
        let between_frames = self.end == End::Open && self.length == 0 && self.payload == 0;
        between_frames && (place == Place::Frame || !self.in_message)
    }

    /// Goes on through all of `bytes`, or up to the end of a Close frame; returns how many that are.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        self.go_on(bytes, |_| false)
    }

    /// How many of `bytes` come before the next `place`, or before the end of a Close frame; all of them
    /// where neither comes.
    pub(super) fn until(mut self, place: Place, bytes: &[u8]) -> usize {
        self.go_on(bytes, |frames| frames.is_at(place))
    }

    fn go_on(&mut self, bytes: &[u8], is_far_enough: impl Fn(&Self) -> bool) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_closed() {
            if self.end == End::Lost {
                return bytes.len();
            }
            if self.payload == 0 {
                self.take_head(&mut rest);
            }
            let passed = rest
                .len()
                .min(usize::try_from(self.payload).unwrap_or(usize::MAX));
            rest = &rest[passed..];
            self.payload -= passed as u64;
            if self.payload == 0 && self.length == 0 {
                if self.end == End::Closing {
                    self.end = End::Closed;
                }
                if is_far_enough(self) {
                    break;
                }
            }
        }
        bytes.len() - rest.len()
    }

    /// Takes the head of a frame off `rest`, as far as it is there.
    fn take_head(&mut self, rest: &mut &[u8]) {
        while let Some((&byte, after)) = rest.split_first() {
            *rest = after;
            self.head[self.length] = byte;
            self.length += 1;
            if self.length >= 2 && self.length == self.head_length() {
                self.end = self.judge();
                self.length = 0;
                return;
            }
        }
    }

    /// How long the head is whose first two bytes are there.
    fn head_length(&self) -> usize {
        let is_masked = self.head[1] & 0x80 != 0;
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if is_masked { 4 } else { 0 }
    }

    /// Reads the head that is there.
    fn judge(&mut self) -> End {
        let [first, second, long @ ..] = self.head;
        let is_masked = second & 0x80 != 0;
        let is_last = first & 0x80 != 0;
        self.payload = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([long[0], long[1]])),
            127 => long[..8]
                .iter()
                .fold(0, |length, &byte| length << 8 | u64::from(byte)),
            short => u64::from(short),
        };
        if is_masked != (self.sender == Sender::Client) || self.payload > u64::MAX / 2 {
            return End::Lost;
        }
        // The three reserved bits belong to extensions, which compress payloads and leave frames alone.
        match first & 0x0f {
            0 if self.in_message => self.in_message = !is_last,
            1 | 2 if !self.in_message => self.in_message = !is_last,
            8..=10 if !is_last || self.payload > MAX_CONTROL => return End::Lost,
            8 => return End::Closing,
            9 | 10 => {}
            _ => return End::Lost,
        }
        End::Open
    }
}

#[cfg(test)]
mod tests {
    use super::Place::{Frame, Message};
    use super::*;

    /// A frame of the server with this first byte and so much payload.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..=125 => frame.push(u8::try_from(length).unwrap()),
            126..=0xffff => {
                frame.push(126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        // As payload it would be a Close frame.
        frame.resize(frame.len() + length, 0x88);
        frame
    }

    /// Which places there are in front of, within and after `stream`, by asking at each byte.
    fn places(sender: Sender, stream: &[u8]) -> Vec<(usize, Place)> {
        let mut frames = Frames::of(sender);
        let mut places = Vec::new();
        for at in 0..=stream.len() {
            if frames.is_at(Message) {
                places.push((at, Message));
            } else if frames.is_at(Frame) {
                places.push((at, Frame));
            }
            if let Some(byte) = stream.get(at..=at) {
                frames.pass(byte);
            }
        }
        places
    }

    #[test]
    fn frames_and_messages_end_where_their_heads_say() {
        for (stream, expected, why) in [
            (vec![], vec![(0, Message)], "nothing yet"),
            (frame(0x81, 5), vec![(0, Message), (7, Message)], "a text"),
            (
                frame(0x82, 0),
                vec![(0, Message), (2, Message)],
                "no payload",
            ),
            (
                frame(0x82, 126),
                vec![(0, Message), (130, Message)],
                "16 bits of length",
            ),
            (
                frame(0x82, 70_000),
                vec![(0, Message), (70_010, Message)],
                "64 bits",
            ),
            (
                frame(0xc1, 5),
                vec![(0, Message), (7, Message)],
                "compressed",
            ),
            (
                [
                    frame(0x01, 1),
                    frame(0x89, 2),
                    frame(0x00, 0),
                    frame(0x80, 3),
                ]
                .concat(),
                vec![
                    (0, Message),
                    (3, Frame),
                    (7, Frame),
                    (9, Frame),
                    (14, Message),
                ],
                "fragments, and a ping between them",
            ),
            (frame(0x88, 2), vec![(0, Message)], "nothing follows Close"),
            (
                b"\x81\x85mask12345".to_vec(),
                vec![(0, Message)],
                "the server masks nothing",
            ),
            (
                frame(0x09, 2),
                vec![(0, Message)],
                "a ping has no fragments",
            ),
            (frame(0x89, 126), vec![(0, Message)], "a ping is short"),
            (frame(0x80, 2), vec![(0, Message)], "goes on with nothing"),
            (frame(0x83, 2), vec![(0, Message)], "nobody knows this kind"),
            (
                b"hello hello hello".to_vec(),
                vec![(0, Message)],
                "no WebSocket",
            ),
        ] {
            assert_eq!(places(Sender::Server, &stream), expected, "{why}");
        }
    }

    #[test]
    fn a_client_masks() {
        let stream = b"\x81\x85mask12345";
        assert_eq!(
            places(Sender::Client, stream),
            [(0, Message), (11, Message)]
        );
        assert_eq!(places(Sender::Client, &frame(0x81, 5)), [(0, Message)]);
    }

    #[test]
    fn a_close_frame_ends_the_stream_with_its_last_byte() {
        let stream = [frame(0x81, 5), frame(0x88, 2), frame(0x81, 1)].concat();
        let mut whole = Frames::of(Sender::Server);
        assert_eq!(whole.pass(&stream), 7 + 4);
        assert!(whole.is_closed());
        let mut halved = Frames::of(Sender::Server);
        assert_eq!(halved.pass(&stream[..10]), 10);
        assert!(!halved.is_closed());
        assert_eq!(halved.pass(&stream[10..]), 1);
        assert!(halved.is_closed());
    }

    #[test]
    fn the_way_to_a_place_is_told_without_going_it() {
        let stream = [frame(0x01, 100), frame(0x80, 200), frame(0x81, 1)].concat();
        let mut frames = Frames::of(Sender::Server);
        frames.pass(&stream[..50]);
        assert_eq!(frames.until(Frame, &stream[50..]), 52);
        assert_eq!(frames.until(Message, &stream[50..]), 52 + 204);
        assert_eq!(
            frames.until(Message, &stream[50..60]),
            10,
            "it is not in there"
        );
        frames.pass(&stream[50..102]);
        assert!(frames.is_at(Frame), "it was still where it was");
    }
}
