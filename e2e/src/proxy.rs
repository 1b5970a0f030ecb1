//! A TCP proxy that stands in for a bad network: it can cut, stall and slow down.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{servers::free_port, wait::wait_for};

/// Forwards connections to one server, as long as it is told to.
pub struct TcpProxy {
    address: SocketAddr,
    behaviour: watch::Sender<Behaviour>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct Behaviour {
    open: bool,
    flowing: bool,
    /// Counts up when all connections so far are forgotten.
    generation: u64,
    bytes_per_second: Option<u64>,
}

impl TcpProxy {
    /// Listens on a free port of the loopback address and forwards to `host:port`.
    pub async fn to(target: &str) -> Result<Self> {
        Self::at(Ipv4Addr::LOCALHOST.into(), target).await
    }

    /// Listens on a free port of this address, such as that of the cluster's host, which pods reach.
    pub async fn at(host: IpAddr, target: &str) -> Result<Self> {
        let (behaviour, watched) = watch::channel(Behaviour {
            open: true,
            flowing: true,
            generation: 0,
            bytes_per_second: None,
        });
        let address = SocketAddr::from((host, free_port()?));
        let listener = TcpListener::bind(address).await?;
        let task = tokio::spawn(serve(listener, target.to_owned(), watched));
        Ok(Self {
            address,
            behaviour,
            task,
        })
    }

    /// The proxy's host.
    pub fn host(&self) -> String {
        self.address.ip().to_string()
    }

    /// The proxy's port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.behaviour
            .send_modify(|behaviour| behaviour.open = false);
    }

    /// Accepts connections again; returns when it listens.
    pub async fn restore(&self) -> Result<()> {
        self.behaviour
            .send_modify(|behaviour| behaviour.open = true);
        wait_for("the proxy to listen", Duration::from_secs(10), || async {
            TcpStream::connect(self.address).await?;
            Ok(Some(()))
        })
        .await
    }

    /// Keeps connections open but lets nothing pass.
    pub fn stall(&self) {
        self.behaviour
            .send_modify(|behaviour| behaviour.flowing = false);
    }

    /// Lets bytes pass again.
    pub fn resume(&self) {
        self.behaviour
            .send_modify(|behaviour| behaviour.flowing = true);
    }

    /// Lets nothing pass any more on the connections that are open, not even that one side has closed
    /// them: as when a firewall forgets them. New ones work.
    pub fn forget(&self) {
        self.behaviour
            .send_modify(|behaviour| behaviour.generation += 1);
    }

    /// Limits each connection's rate in each direction; `None` lifts the limit.
    pub fn throttle(&self, bytes_per_second: Option<u64>) {
        self.behaviour
            .send_modify(|behaviour| behaviour.bytes_per_second = bytes_per_second);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: String, mut watched: watch::Receiver<Behaviour>) {
    let address = listener.local_addr();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let open = watched.borrow_and_update().open;
        if !open {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none()
            && let Ok(address) = address
        {
            listener = TcpListener::bind(address).await.ok();
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accept => if let Ok((client, _)) = accepted {
                connections.spawn(forward(client, target.clone(), watched.clone()));
            },
            changed = watched.changed() => if changed.is_err() { return },
            // The port may still be busy: try again.
            () = sleep(Duration::from_millis(50)), if open && listener.is_none() => {}
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(client: TcpStream, target: String, watched: watch::Receiver<Behaviour>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    // A closed side ends both directions, as a real middle box that forgets a connection does.
    tokio::select! {
        () = pump(client_reads, server_writes, watched.clone()) => {}
        () = pump(server_reads, client_writes, watched) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut watched: watch::Receiver<Behaviour>,
) {
    let own = watched.borrow().generation;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if watched
            .wait_for(|behaviour| behaviour.flowing && behaviour.generation == own)
            .await
            .is_err()
            || length == 0
        {
            return;
        }
        let limit = watched.borrow().bytes_per_second;
        if let Some(limit) = limit {
            sleep(Duration::from_secs_f64(length as f64 / limit as f64)).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    tokio::io::copy(&mut reads, &mut writes).await.ok();
                });
            }
        });
        Ok(address)
    }

    async fn send(stream: &mut TcpStream, text: &str) -> Result<()> {
        stream.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        assert_eq!(answer, text.as_bytes());
        Ok(())
    }

    #[tokio::test]
    async fn a_cut_proxy_closes_and_refuses_until_it_is_restored() -> Result<()> {
        let proxy = TcpProxy::to(&echo().await?).await?;
        let mut stream = TcpStream::connect(proxy.address).await?;
        send(&mut stream, "hello").await?;
        proxy.cut();
        assert!(send(&mut stream, "lost").await.is_err());
        wait_for("a refusal", Duration::from_secs(5), || async {
            Ok(TcpStream::connect(proxy.address).await.err())
        })
        .await?;
        proxy.restore().await?;
        let mut stream = TcpStream::connect(proxy.address).await?;
        send(&mut stream, "again").await
    }

    #[tokio::test]
    async fn a_forgotten_connection_is_silent_while_new_ones_work() -> Result<()> {
        let proxy = TcpProxy::to(&echo().await?).await?;
        let mut forgotten = TcpStream::connect(proxy.address).await?;
        send(&mut forgotten, "hello").await?;
        proxy.forget();
        let sent = tokio::time::timeout(Duration::from_millis(100), send(&mut forgotten, "lost"));
        assert!(sent.await.is_err());
        let mut stream = TcpStream::connect(proxy.address).await?;
        send(&mut stream, "new").await
    }

    #[tokio::test]
    async fn a_stalled_proxy_holds_bytes_back() -> Result<()> {
        let proxy = TcpProxy::to(&echo().await?).await?;
        let mut stream = TcpStream::connect(proxy.address).await?;
        send(&mut stream, "hello").await?;
        proxy.stall();
        let sent = tokio::time::timeout(Duration::from_millis(100), send(&mut stream, "late"));
        assert!(sent.await.is_err());
        proxy.resume();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"late");
        Ok(())
    }
}
