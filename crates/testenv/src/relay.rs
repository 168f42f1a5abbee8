//! Passing connections on from one address to another, within this process.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Passes each connection to one address on to another, until it is dropped.
///
/// What listens on loopback alone is reached through it from elsewhere, without opening it to the whole network.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Listens on a port of `from`, a free one for port 0, and passes on to `to`.
    pub(crate) fn start(from: SocketAddr, to: SocketAddr) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(from)
            .with_context(|| format!("could not listen on {from}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        // A runtime of its own, so that it goes on while a test's is busy or gone.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let listener = TcpListener::from_std(listener)?;
            tokio::select! {
                error = accept(listener, to) => error,
                // Sent, or the sender is gone: over either way.
                _ = stopped => Ok(()),
            }
        };
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || {
                if let Err(error) = runtime.block_on(serve) {
                    eprintln!("[testenv] the relay to {to} ended: {error}");
                }
            })
            .context("no thread for the relay")?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, to: SocketAddr) -> std::io::Result<()> {
    loop {
        let (mut incoming, _) = listener.accept().await?;
        tokio::spawn(async move {
            // Whoever sees the connection end tries again; that is what it would do without a relay.
            if let Ok(mut onward) = TcpStream::connect(to).await {
                let _ = copy_bidirectional(&mut incoming, &mut onward).await;
            }
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn what_goes_in_at_one_end_comes_out_at_the_other_and_back() {
        let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let relay = Relay::start(any, target.local_addr().unwrap()).unwrap();
        let mut client = std::net::TcpStream::connect(relay.address()).unwrap();
        let (mut server, _) = target.accept().unwrap();
        let mut heard = [0; 4];
        client.write_all(b"ping").unwrap();
        server.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"ping");
        server.write_all(b"pong").unwrap();
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"pong");
        drop(relay);
        assert_eq!(client.read(&mut heard).unwrap_or(0), 0);
    }
}
