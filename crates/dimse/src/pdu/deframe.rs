//! Cuts a byte stream into control PDUs and fragments of P-DATA.
//!
//! A value with one method: bytes go in, frames come out, nothing is copied. Fragments are handed
//! on as they arrive, so a PDU is never held as a whole and its length costs no memory.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Abort, CONTROL_PDU_LIMIT, P_DATA_TOLERANCE, PDU_HEADER, PDV_HEADER, PduType, ProtocolError,
};

/// What the stream holds next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole control PDU, header included.
    Control(PduType, Bytes),
    /// A piece of a message.
    Fragment(Fragment),
}

/// A piece of a command set or a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Presentation context ID.
    pub context: u8,
    /// Command set, or data set (PS3.8 annex E.2, bit 0).
    pub command: bool,
    /// The part ends with this piece (bit 1). The piece may be empty.
    pub last: bool,
    /// The bytes.
    pub data: Bytes,
}

/// Cuts a byte stream into [`Frame`]s.
#[derive(Debug)]
pub struct Deframer {
    p_data_limit: u32,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A PDU header is next.
    Pdu,
    /// Inside a P-DATA-TF with so many bytes left; a presentation data value is next.
    Pdv { pdu_left: u32 },
    /// Inside a presentation data value.
    Inside { pdu_left: u32, pdv_left: u32, context: u8, control: u8 },
}

impl Deframer {
    /// A deframer for a peer that was told `max_pdu` (0: no limit).
    pub fn new(max_pdu: u32) -> Self {
        let p_data_limit = match max_pdu {
            0 => u32::MAX,
            limit => limit.saturating_add(P_DATA_TOLERANCE),
        };
        Self { p_data_limit, state: State::Pdu }
    }

    /// Whether the stream stands between two PDUs.
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::Pdu)
    }

    /// Whether the bulk of a P-DATA-TF is expected next, so that a large read pays.
    pub fn inside_p_data(&self) -> bool {
        !self.at_boundary()
    }

    /// Takes the next frame from the front of `buffer`; `None` when more bytes are needed.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        loop {
            match self.state {
                State::Pdu => {
                    let Some((&[kind, _, l0, l1, l2, l3], _)) =
                        buffer.split_first_chunk::<PDU_HEADER>()
                    else {
                        return Ok(None);
                    };
                    let length = u32::from_be_bytes([l0, l1, l2, l3]);
                    let Some(kind) = PduType::from_byte(kind) else {
                        return Err(ProtocolError::new(
                            Abort::UNRECOGNISED_PDU,
                            format!("PDU type {kind:02X}H does not exist; is this a DICOM peer?"),
                        ));
                    };
                    if kind != PduType::PData {
                        return self.control(kind, length, buffer);
                    }
                    if length > self.p_data_limit {
                        return Err(invalid(format!(
                            "a P-DATA-TF of {length} bytes exceeds the negotiated maximum"
                        )));
                    }
                    buffer.advance(PDU_HEADER);
                    self.state = match length {
                        0 => State::Pdu,
                        pdu_left => State::Pdv { pdu_left },
                    };
                }
                State::Pdv { pdu_left } => {
                    let Some((&[l0, l1, l2, l3, context, control], _)) =
                        buffer.split_first_chunk::<PDV_HEADER>()
                    else {
                        // A PDU whose rest cannot hold a value would make us read into the next.
                        return match pdu_left < PDV_HEADER as u32 {
                            true => Err(overrun(pdu_left)),
                            false => Ok(None),
                        };
                    };
                    let length = u32::from_be_bytes([l0, l1, l2, l3]);
                    let Some(pdv_left) = length.checked_sub(2) else {
                        return Err(invalid(format!(
                            "a presentation data value of {length} bytes"
                        )));
                    };
                    let Some(pdu_left) =
                        pdu_left.checked_sub(4).and_then(|l| l.checked_sub(length))
                    else {
                        return Err(overrun(pdu_left));
                    };
                    buffer.advance(PDV_HEADER);
                    self.state =
                        State::Inside { pdu_left: pdu_left + pdv_left, pdv_left, context, control };
                    if pdv_left == 0 {
                        return Ok(Some(self.piece(buffer, pdu_left, 0, 0, context, control)));
                    }
                }
                State::Inside { pdu_left, pdv_left, context, control } => {
                    if buffer.is_empty() {
                        return Ok(None);
                    }
                    let take = u32::try_from(buffer.len()).unwrap_or(u32::MAX).min(pdv_left);
                    let (pdu_left, pdv_left) = (pdu_left - take, pdv_left - take);
                    let frame = self.piece(buffer, pdu_left, pdv_left, take, context, control);
                    return Ok(Some(frame));
                }
            }
        }
    }

    fn control(
        &mut self,
        kind: PduType,
        length: u32,
        buffer: &mut BytesMut,
    ) -> Result<Option<Frame>, ProtocolError> {
        if length > CONTROL_PDU_LIMIT {
            return Err(invalid(format!("an {kind} of {length} bytes")));
        }
        let whole = PDU_HEADER + length as usize;
        if buffer.len() < whole {
            return Ok(None);
        }
        Ok(Some(Frame::Control(kind, buffer.split_to(whole).freeze())))
    }

    /// Splits `take` bytes off and moves on to what follows them.
    fn piece(
        &mut self,
        buffer: &mut BytesMut,
        pdu_left: u32,
        pdv_left: u32,
        take: u32,
        context: u8,
        control: u8,
    ) -> Frame {
        self.state = match (pdv_left, pdu_left) {
            (0, 0) => State::Pdu,
            (0, pdu_left) => State::Pdv { pdu_left },
            (pdv_left, pdu_left) => State::Inside { pdu_left, pdv_left, context, control },
        };
        Frame::Fragment(Fragment {
            context,
            command: control & 0x01 != 0,
            last: pdv_left == 0 && control & 0x02 != 0,
            data: buffer.split_to(take as usize).freeze(),
        })
    }
}

fn invalid(message: String) -> ProtocolError {
    ProtocolError::new(Abort::INVALID_PARAMETER, message)
}

fn overrun(pdu_left: u32) -> ProtocolError {
    invalid(format!("a presentation data value does not fit the {pdu_left} bytes left in its PDU"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in steps of `step` and joins what belongs together.
    fn deframe(bytes: &[u8], step: usize) -> Result<Vec<Frame>, ProtocolError> {
        let mut deframer = Deframer::new(64);
        let mut buffer = BytesMut::new();
        let mut frames: Vec<Frame> = Vec::new();
        let mut open = false;
        for piece in bytes.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some(frame) = deframer.next(&mut buffer)? {
                match (frames.last_mut(), frame) {
                    (Some(Frame::Fragment(before)), Frame::Fragment(now)) if open => {
                        before.data = [&before.data[..], &now.data[..]].concat().into();
                        before.last = now.last;
                    }
                    (_, frame) => frames.push(frame),
                }
                open = matches!(deframer.state, State::Inside { .. });
            }
        }
        assert!(buffer.is_empty() && deframer.at_boundary(), "something is left over");
        Ok(frames)
    }

    /// Two PDUs: a command and the first half of a data set in one, the rest in the other with an
    /// empty value between, then A-RELEASE-RQ.
    fn stream() -> Vec<u8> {
        [
            &[0x04, 0, 0, 0, 0, 19][..],
            &[0, 0, 0, 6, 1, 0x03],
            b"comm",
            &[0, 0, 0, 5, 1, 0x00],
            b"dat",
            &[0x04, 0, 0, 0, 0, 13],
            &[0, 0, 0, 2, 1, 0x00],
            &[0, 0, 0, 3, 1, 0x02],
            b"a",
            &super::super::RELEASE_RQ,
        ]
        .concat()
    }

    #[test]
    fn frames_do_not_depend_on_how_the_bytes_arrive() {
        let fragment = |command, last, data: &'static [u8]| {
            Frame::Fragment(Fragment { context: 1, command, last, data: data.into() })
        };
        let expected = [
            fragment(true, true, b"comm"),
            fragment(false, false, b"dat"),
            fragment(false, false, b""),
            fragment(false, true, b"a"),
            Frame::Control(PduType::ReleaseRq, Bytes::from_static(&super::super::RELEASE_RQ)),
        ];
        for step in 1..=stream().len() {
            assert_eq!(deframe(&stream(), step).as_deref(), Ok(&expected[..]), "step {step}");
        }
    }

    #[test]
    fn a_fragment_is_handed_on_before_it_is_complete() {
        let mut deframer = Deframer::new(0);
        let mut buffer =
            BytesMut::from(&[0x04, 0, 0x7f, 0, 0, 0, 0x7e, 0xff, 0xff, 0xfc, 5, 2, 1, 2, 3][..]);
        let received_at = buffer.as_ptr();
        let Ok(Some(Frame::Fragment(piece))) = deframer.next(&mut buffer) else {
            panic!("three bytes are there")
        };
        assert_eq!((piece.context, piece.command, piece.last), (5, false, false));
        assert_eq!(&piece.data[..], [1, 2, 3]);
        assert_eq!(piece.data.as_ptr(), received_at.wrapping_add(12), "the bytes were copied");
        assert!(deframer.inside_p_data());
    }

    #[test]
    fn impossible_lengths_are_refused_as_soon_as_they_are_seen() {
        let cases: [(&[u8], Abort); 6] = [
            // Type 8.
            (&[0x08, 0, 0, 0, 0, 0], Abort::UNRECOGNISED_PDU),
            // An HTTP request.
            (b"GET / HTTP/1.1\r\n", Abort::UNRECOGNISED_PDU),
            // A-ABORT of 4 GiB.
            (&[0x07, 0, 0xff, 0xff, 0xff, 0xff], Abort::INVALID_PARAMETER),
            // P-DATA-TF of 64 + 1024 + 1 bytes.
            (&[0x04, 0, 0, 0, 4, 0x41], Abort::INVALID_PARAMETER),
            // A value of one byte: no room for its own header.
            (&[0x04, 0, 0, 0, 0, 6, 0, 0, 0, 1, 1, 0], Abort::INVALID_PARAMETER),
            // A value longer than its PDU.
            (&[0x04, 0, 0, 0, 0, 6, 0, 0, 0, 3, 1, 0], Abort::INVALID_PARAMETER),
        ];
        for (bytes, abort) in cases {
            for step in [1, bytes.len()] {
                assert_eq!(deframe(bytes, step).map_err(|e| e.abort), Err(abort), "{bytes:02X?}");
            }
        }
        // Five bytes left can hold no value: refused without waiting for a sixth.
        let tail = [0x04, 0, 0, 0, 0, 5];
        assert_eq!(deframe(&tail, 1).map_err(|e| e.abort), Err(Abort::INVALID_PARAMETER));
    }
}
