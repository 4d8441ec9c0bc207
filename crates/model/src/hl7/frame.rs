//! MLLP (HL7 v2.5 appendix C, section C.4): a message between 0x0B and 0x1C 0x0D. Takes bytes as they
//! come, keeps no more than one message, and never looks at the same byte twice.

use super::MAX_MESSAGE;

const START: u8 = 0x0B;
const END: u8 = 0x1C;
const RETURN: u8 = 0x0D;

/// Most bytes between messages that are passed over: some senders write line ends there.
const MAX_NOISE: usize = 64;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole message, without its frame.
    Message(Vec<u8>),
    /// What cannot be answered: no message begins where one should, or it is longer than
    /// [`MAX_MESSAGE`]. The connection is of no more use.
    Broken(&'static str),
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Frames {
    state: State,
    noise: usize,
    message: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a message.
    #[default]
    Outside,
    /// Inside one.
    Inside,
    /// Behind its end character.
    Ending,
}

impl Frames {
    /// Takes bytes until a message is whole. Returns how many were taken, and what they made.
    pub fn take(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        for (index, &byte) in bytes.iter().enumerate() {
            let taken = index.saturating_add(1);
            match (self.state, byte) {
                (State::Outside, START) => {
                    self.state = State::Inside;
                    self.noise = 0;
                }
                (State::Outside, RETURN | b'\n' | END | b' ' | 0) => {
                    self.noise = self.noise.saturating_add(1);
                    if self.noise > MAX_NOISE {
                        return (taken, Some(Frame::Broken("no message begins")));
                    }
                }
                (State::Outside, _) => {
                    let why = "a message must begin with the byte 0B (MLLP)";
                    return (taken, Some(Frame::Broken(why)));
                }
                (State::Inside, END) => self.state = State::Ending,
                (State::Inside, byte) => {
                    if let Some(broken) = self.push(byte) {
                        return (taken, Some(broken));
                    }
                }
                (State::Ending, RETURN) => {
                    self.state = State::Outside;
                    return (taken, Some(Frame::Message(std::mem::take(&mut self.message))));
                }
                // No end after all: the byte was part of the message.
                (State::Ending, byte) => {
                    self.state = if byte == END { State::Ending } else { State::Inside };
                    let both = [Some(END), (byte != END).then_some(byte)];
                    for one in both.into_iter().flatten() {
                        if let Some(broken) = self.push(one) {
                            return (taken, Some(broken));
                        }
                    }
                }
            }
        }
        (bytes.len(), None)
    }

    /// Whether a message has begun and is not whole.
    pub fn is_inside(&self) -> bool {
        self.state != State::Outside
    }

    fn push(&mut self, byte: u8) -> Option<Frame> {
        if self.message.len() >= MAX_MESSAGE {
            return Some(Frame::Broken("the message is longer than 1 MiB"));
        }
        self.message.push(byte);
        None
    }
}

/// A message in its frame.
pub fn enclose(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(message.len().saturating_add(3));
    framed.push(START);
    framed.extend_from_slice(message);
    framed.extend_from_slice(&[END, RETURN]);
    framed
}
