//! Cuts a data set that arrives in pieces of any size into P-DATA-TF PDUs, of which the last says so.

use super::{fragment_room, p_data_header};

/// Bytes in front of a fragment.
const HEADER: usize = 12;

/// What is gathered before it is worth a system call (bytes). Peers that take 16 KiB at a time would
/// cost one per PDU otherwise.
const WORTH_SENDING: usize = 256 * 1024;

/// A data set on its way out. Holds one PDU more than what is worth sending: the last fragment has to
/// say that it is the last, must not be empty where others are not, and nobody knows which it is
/// before the end.
#[derive(Debug)]
pub(crate) struct Fragments {
    context: u8,
    room: usize,
    /// Closed PDUs, then the open one.
    bytes: Vec<u8>,
    /// Where the open PDU begins.
    open: usize,
}

impl Fragments {
    /// A data set for a presentation context, in PDUs of at most `max_pdu` bytes.
    pub fn new(context: u8, max_pdu: u32) -> Self {
        Self::after(Vec::new(), context, max_pdu)
    }

    /// The same, behind whole PDUs that go first.
    pub fn after(mut first: Vec<u8>, context: u8, max_pdu: u32) -> Self {
        let open = first.len();
        first.resize(open + HEADER, 0);
        Self { context, room: fragment_room(max_pdu), bytes: first, open }
    }

    /// Adds what comes next.
    pub fn push(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.filled() == self.room {
                self.close(false);
                self.open = self.bytes.len();
                self.bytes.resize(self.open + HEADER, 0);
            }
            let (now, later) = piece.split_at(piece.len().min(self.room - self.filled()));
            self.bytes.extend_from_slice(now);
            piece = later;
        }
    }

    /// What can be sent already, once it is worth it; [`Self::sent`] has to follow.
    pub fn ready(&self) -> Option<&[u8]> {
        (self.open >= WORTH_SENDING).then(|| self.bytes.get(..self.open)).flatten()
    }

    /// Forgets what [`Self::ready`] gave.
    pub fn sent(&mut self) {
        self.bytes.drain(..self.open);
        self.open = 0;
    }

    /// The rest, after the last piece.
    pub fn finish(mut self) -> Vec<u8> {
        self.close(true);
        self.bytes
    }

    /// Bytes of the open PDU's fragment.
    fn filled(&self) -> usize {
        self.bytes.len() - self.open - HEADER
    }

    fn close(&mut self, last: bool) {
        let header = p_data_header(self.context, false, last, self.filled());
        if let Some(place) = self.bytes.get_mut(self.open..self.open + HEADER) {
            place.copy_from_slice(&header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::encode_message;

    /// What is sent of pieces of this length.
    fn cut(data: &[u8], piece: usize, max_pdu: u32) -> Vec<u8> {
        let mut fragments = Fragments::new(5, max_pdu);
        let mut sent = Vec::new();
        for piece in data.chunks(piece) {
            fragments.push(piece);
            if let Some(ready) = fragments.ready() {
                sent.extend_from_slice(ready);
                fragments.sent();
            }
        }
        sent.extend(fragments.finish());
        sent
    }

    #[test]
    fn pieces_of_any_size_give_the_same_pdus() {
        let data: Vec<u8> = (0..1_000_003_u32).map(|n| n.to_le_bytes()[0]).collect();
        for (length, max_pdu) in [(0, 100), (94, 100), (95, 100), (188, 100), (data.len(), 16_384)]
        {
            let data = &data[..length];
            let mut expected = Vec::new();
            encode_message(&mut expected, 5, false, data, max_pdu);
            for piece in [1_usize.max(length / 7), 13, 94, 300_000] {
                assert_eq!(cut(data, piece, max_pdu), expected, "{length} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn little_is_held() {
        let mut fragments = Fragments::new(1, 131_072);
        let mut most = 0;
        for _ in 0..1000 {
            fragments.push(&[0; 65_536]);
            most = most.max(fragments.bytes.len());
            if fragments.ready().is_some() {
                fragments.sent();
            }
        }
        assert!(most < WORTH_SENDING + 2 * 131_072 + 65_536, "{most}");
    }
}
