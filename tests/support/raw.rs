//! HTTP over a plain socket, for requests that no client library sends.

use super::node::Node;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Opens a connection to the HTTP face of a node.
pub fn connect(node: &Node) -> TcpStream {
    let address = node.http().trim_start_matches("http://");
    let stream = TcpStream::connect(address).expect("connect");
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    stream
}

/// The head of a request: request line, Host, the given headers, and `Connection: close`.
pub fn head(node: &Node, line: &str, headers: &[&str]) -> Vec<u8> {
    let host = node.http().trim_start_matches("http://");
    let mut text = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Sends bytes and returns everything that comes back until the server closes.
pub fn exchange(node: &Node, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(node);
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// The status of a raw answer; 0 when there is none.
pub fn status(answer: &[u8]) -> u16 {
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}
