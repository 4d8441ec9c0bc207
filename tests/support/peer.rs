//! A scripted DIMSE peer over a plain blocking socket (PS3.8 section 9.3, PS3.7 section 9.3): it
//! sends what it is told, also what no decent peer sends, and reports what came back. It shares no
//! code with the node.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Verification SOP class.
pub const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Implicit VR Little Endian.
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";

const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
const OUR_MAX_PDU: u32 = 65536;

/// One abstract syntax and the transfer syntaxes offered for it.
pub type Offer<'a> = (&'a str, &'a [&'a str]);

/// Why there is no association.
#[derive(Debug)]
pub enum NoAssociation {
    /// A-ASSOCIATE-RJ (PS3.8 section 9.3.4).
    Rejected {
        /// 1 permanent, 2 transient.
        result: u8,
        /// Who rejects.
        source: u8,
        /// Reason, depending on the source.
        reason: u8,
    },
    /// Anything else: an abort, a closed connection, nonsense.
    Failed(io::Error),
}

impl fmt::Display for NoAssociation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { result, source, reason } => {
                write!(f, "rejected: result {result}, source {source}, reason {reason}")
            }
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// Says what became of an association request, for messages of failed assertions.
pub fn outcome(result: &Result<Peer, NoAssociation>) -> String {
    result.as_ref().map_or_else(ToString::to_string, |_| "accepted".to_owned())
}

impl From<io::Error> for NoAssociation {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// The outcome of one proposed presentation context.
#[derive(Debug, Clone)]
pub struct Context {
    /// Presentation context ID.
    pub id: u8,
    /// 0 accepted, 1 to 4 rejected (PS3.8 table 9-18).
    pub result: u8,
    /// What was proposed.
    pub abstract_syntax: String,
    /// What the node chose.
    pub transfer_syntax: String,
}

/// A DIMSE response: the elements a test looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// Command field (0000,0100).
    pub command: u16,
    /// Message ID being responded to (0000,0120).
    pub message: u16,
    /// Status (0000,0900).
    pub status: u16,
    /// Error comment (0000,0902).
    pub comment: String,
}

/// An open association.
pub struct Peer {
    stream: TcpStream,
    /// What was negotiated.
    pub contexts: Vec<Context>,
    /// The node's limit for the length of a PDU; 0 means none.
    pub max_pdu: u32,
    /// The node's implementation class UID.
    pub implementation: String,
    next_message: u16,
}

impl Peer {
    /// Opens an association for the given contexts, which get the IDs 1, 3, 5, …
    pub fn associate(
        address: SocketAddr,
        called: &str,
        calling: &str,
        offers: &[Offer<'_>],
    ) -> Result<Self, NoAssociation> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(&associate_request(called, calling, offers))?;
        let (kind, body) = read_pdu(&mut stream)?;
        match kind {
            2 => Ok(Self::accepted(stream, &body, offers)),
            3 => Err(NoAssociation::Rejected {
                result: byte(&body, 1),
                source: byte(&body, 2),
                reason: byte(&body, 3),
            }),
            other => Err(NoAssociation::Failed(unexpected(other))),
        }
    }

    fn accepted(stream: TcpStream, body: &[u8], offers: &[Offer<'_>]) -> Self {
        let mut peer = Self {
            stream,
            contexts: Vec::new(),
            max_pdu: 0,
            implementation: String::new(),
            next_message: 1,
        };
        for (kind, item) in items(body.get(68..).unwrap_or_default()) {
            match kind {
                0x21 => {
                    let id = byte(item, 0);
                    let sub = items(item.get(4..).unwrap_or_default());
                    let transfer = sub.into_iter().find(|(kind, _)| *kind == 0x40);
                    let offer = offers.get(usize::from(id) / 2);
                    peer.contexts.push(Context {
                        id,
                        result: byte(item, 2),
                        abstract_syntax: offer.map(|o| o.0.to_owned()).unwrap_or_default(),
                        transfer_syntax: transfer.map(|(_, uid)| text(uid)).unwrap_or_default(),
                    });
                }
                0x50 => {
                    for (kind, value) in items(item) {
                        match kind {
                            0x51 => peer.max_pdu = value.try_into().map_or(0, u32::from_be_bytes),
                            0x52 => peer.implementation = text(value),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        peer
    }

    /// The ID of the accepted context for an abstract syntax and a transfer syntax.
    pub fn context(&self, abstract_syntax: &str, transfer_syntax: &str) -> Option<u8> {
        let fits = |context: &&Context| {
            context.result == 0
                && context.abstract_syntax == abstract_syntax
                && context.transfer_syntax == transfer_syntax
        };
        self.contexts.iter().find(fits).map(|context| context.id)
    }

    /// C-ECHO (PS3.7 section 9.1.5).
    pub fn echo(&mut self, context: u8) -> io::Result<Response> {
        let message = self.message();
        let command = command_set(&[
            (0x0002, uid(VERIFICATION)),
            (0x0100, us(0x0030)),
            (0x0110, us(message)),
            (0x0800, us(0x0101)),
        ]);
        self.send(context, true, true, &command)?;
        self.response()
    }

    /// C-STORE of a data set held in memory.
    pub fn store(
        &mut self,
        context: u8,
        class: &str,
        instance: &str,
        data_set: &[u8],
    ) -> io::Result<Response> {
        self.store_stream(context, class, instance, &mut &*data_set, data_set.len() as u64)
    }

    /// C-STORE of a data set that is never held whole.
    pub fn store_stream(
        &mut self,
        context: u8,
        class: &str,
        instance: &str,
        data_set: &mut dyn Read,
        length: u64,
    ) -> io::Result<Response> {
        self.begin_store(context, class, instance)?;
        let mut left = length;
        let mut buffer = vec![0; self.fragment()];
        loop {
            let count = left.min(buffer.len() as u64) as usize;
            data_set.read_exact(&mut buffer[..count])?;
            left -= count as u64;
            self.send(context, false, left == 0, &buffer[..count])?;
            if left == 0 {
                break;
            }
        }
        self.response()
    }

    /// A request of any other kind with an empty data set; gives the last response to it.
    pub fn request(&mut self, context: u8, class: &str, command: u16) -> io::Result<Response> {
        let message = self.message();
        // N-SET and N-ACTION name what they are about as requested, the others as affected.
        let requested = matches!(command, 0x0120 | 0x0130);
        let mut set = vec![(if requested { 0x0003 } else { 0x0002 }, uid(class))];
        set.extend([(0x0100, us(command)), (0x0110, us(message)), (0x0800, us(0x0001))]);
        if requested {
            set.extend([(0x1001, uid("1.2.840.10008.1.20.1.1")), (0x1008, us(1))]);
        }
        self.send(context, true, true, &command_set(&set))?;
        self.send(context, false, true, &[])?;
        loop {
            let response = self.response()?;
            if !matches!(response.status, 0xFF00 | 0xFF01) {
                return Ok(response);
            }
        }
    }

    /// Sends the C-STORE-RQ command only; data fragments are to follow with [`Self::send`].
    pub fn begin_store(&mut self, context: u8, class: &str, instance: &str) -> io::Result<()> {
        let message = self.message();
        let command = command_set(&[
            (0x0002, uid(class)),
            (0x0100, us(0x0001)),
            (0x0110, us(message)),
            (0x0700, us(0)),
            (0x0800, us(0x0001)),
            (0x1000, uid(instance)),
        ]);
        self.send(context, true, true, &command)
    }

    /// Sends one P-DATA-TF PDU with one fragment (PS3.8 section 9.3.5).
    pub fn send(&mut self, context: u8, command: bool, last: bool, data: &[u8]) -> io::Result<()> {
        let mut pdu = Vec::with_capacity(data.len() + 12);
        let length = data.len() as u32;
        pdu.extend([4, 0]);
        pdu.extend((length + 6).to_be_bytes());
        pdu.extend((length + 2).to_be_bytes());
        pdu.extend([context, u8::from(command) | u8::from(last) << 1]);
        pdu.extend(data);
        self.stream.write_all(&pdu)
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one response message.
    pub fn response(&mut self) -> io::Result<Response> {
        let mut command = Vec::new();
        loop {
            let (kind, body) = self.read_pdu()?;
            if kind != 4 {
                return Err(unexpected(kind));
            }
            let mut rest = &body[..];
            while rest.len() >= 6 {
                let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let (value, tail) = rest[4..].split_at(length.min(rest.len() - 4));
                rest = tail;
                command.extend_from_slice(value.get(2..).unwrap_or_default());
                if byte(value, 1) == 3 {
                    return Ok(parse_response(&command));
                }
            }
        }
    }

    /// Reads the next PDU: its type and its body.
    pub fn read_pdu(&mut self) -> io::Result<(u8, Vec<u8>)> {
        read_pdu(&mut self.stream)
    }

    /// Releases the association and waits for the answer.
    pub fn release(mut self) -> io::Result<()> {
        self.stream.write_all(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0])?;
        match self.read_pdu()? {
            (6, _) => Ok(()),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Sends A-ABORT and closes.
    pub fn abort(mut self) {
        let _ = self.stream.write_all(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    }

    /// How many bytes of a message fit in one PDU.
    pub fn fragment(&self) -> usize {
        let limit = if self.max_pdu == 0 { 1 << 17 } else { self.max_pdu.min(1 << 17) };
        (limit as usize).saturating_sub(6).max(64)
    }

    fn message(&mut self) -> u16 {
        let message = self.next_message;
        self.next_message = message.wrapping_add(1).max(1);
        message
    }
}

/// Encodes an A-ASSOCIATE-RQ (PS3.8 section 9.3.2).
pub fn associate_request(called: &str, calling: &str, offers: &[Offer<'_>]) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend(format!("{called:16.16}{calling:16.16}").into_bytes());
    body.extend([0; 32]);
    item(&mut body, 0x10, APPLICATION_CONTEXT.as_bytes());
    for (index, (abstract_syntax, transfer_syntaxes)) in offers.iter().enumerate() {
        let mut context = vec![(index * 2 + 1) as u8, 0, 0, 0];
        item(&mut context, 0x30, abstract_syntax.as_bytes());
        for transfer_syntax in *transfer_syntaxes {
            item(&mut context, 0x40, transfer_syntax.as_bytes());
        }
        item(&mut body, 0x20, &context);
    }
    let mut user = Vec::new();
    item(&mut user, 0x51, &OUR_MAX_PDU.to_be_bytes());
    item(&mut user, 0x52, b"2.25.81230961");
    item(&mut user, 0x55, b"SCRIPTED_PEER");
    item(&mut body, 0x50, &user);
    let mut pdu = vec![1, 0];
    pdu.extend((body.len() as u32).to_be_bytes());
    pdu.extend(body);
    pdu
}

/// Reads one PDU from a socket; its length is limited as the node's own should be.
pub fn read_pdu(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
    if length > 1 << 20 {
        return Err(io::Error::other(format!("a PDU of {length} bytes")));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

fn item(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.extend([kind, 0]);
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
}

fn items(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]])).min(bytes.len() - 4);
        let (value, rest) = bytes[4..].split_at(length);
        found.push((bytes[0], value));
        bytes = rest;
    }
    found
}

/// A command set is always Implicit VR Little Endian and opens with its group length
/// (PS3.7 section 6.3).
fn command_set(elements: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (element, value) in elements {
        body.extend([0, 0]);
        body.extend(element.to_le_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.extend(value);
    }
    let mut set = vec![0, 0, 0, 0, 4, 0, 0, 0];
    set.extend((body.len() as u32).to_le_bytes());
    set.extend(body);
    set
}

fn parse_response(mut command: &[u8]) -> Response {
    let mut response = Response::default();
    while command.len() >= 8 {
        let element = u16::from_le_bytes([command[2], command[3]]);
        let length = u32::from_le_bytes([command[4], command[5], command[6], command[7]]) as usize;
        let (value, rest) = command[8..].split_at(length.min(command.len() - 8));
        let number = value.try_into().map_or(0, u16::from_le_bytes);
        match element {
            0x0100 => response.command = number,
            0x0120 => response.message = number,
            0x0900 => response.status = number,
            0x0902 => response.comment = text(value),
            _ => {}
        }
        command = rest;
    }
    response
}

fn us(value: u16) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

fn uid(value: &str) -> Vec<u8> {
    let mut bytes = value.as_bytes().to_vec();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_matches(['\0', ' ']).to_owned()
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

fn unexpected(kind: u8) -> io::Error {
    io::Error::other(format!("an unexpected PDU of type {kind}"))
}
