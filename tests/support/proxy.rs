//! A TCP forwarder whose link a test can cut or freeze: how a database or an object store that went
//! away looks to the node.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const OPEN: u8 = 0;
const CUT: u8 = 1;
const FROZEN: u8 = 2;

/// Forwards to one address while it is open.
pub struct Proxy {
    /// Where the node connects.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: AtomicU8,
    target: String,
    links: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on a free port.
    pub fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind the proxy");
        let address = listener.local_addr().expect("proxy address");
        let shared = Arc::new(Shared {
            state: AtomicU8::new(OPEN),
            target: target.to_owned(),
            links: Mutex::new(Vec::new()),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = accepting.clone();
                thread::spawn(move || shared.serve(client));
            }
        });
        Self { address, shared }
    }

    /// Closes every link and refuses new ones, as a stopped server does.
    pub fn cut(&self) {
        self.shared.state.store(CUT, Ordering::SeqCst);
        for link in self.shared.links.lock().expect("links").drain(..) {
            let _ = link.shutdown(Shutdown::Both);
        }
    }

    /// Keeps the links but carries nothing, as a broken network does.
    pub fn freeze(&self) {
        self.shared.state.store(FROZEN, Ordering::SeqCst);
    }

    /// Carries traffic again.
    pub fn open(&self) {
        self.shared.state.store(OPEN, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, client: TcpStream) {
        if self.state.load(Ordering::SeqCst) == CUT {
            return;
        }
        let Ok(server) = TcpStream::connect(&self.target) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let pairs = (client.try_clone(), server.try_clone());
        let (Ok(client_copy), Ok(server_copy)) = pairs else { return };
        if let (Ok(one), Ok(other)) = (client.try_clone(), server.try_clone()) {
            self.links.lock().expect("links").extend([one, other]);
        }
        let back = self.clone();
        thread::spawn(move || back.carry(server_copy, client_copy));
        self.carry(client, server);
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            while self.state.load(Ordering::SeqCst) == FROZEN {
                thread::sleep(Duration::from_millis(5));
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
