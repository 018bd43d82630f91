//! A TCP balancer on loopback that can go silent, as a network does that drops everything without a word.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Balancer {
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    /// Where new connections go, in turn.
    backends: Mutex<Vec<SocketAddr>>,
    silent: watch::Sender<bool>,
    /// Connections of an earlier epoch are cut.
    epoch: watch::Sender<u64>,
}

impl Balancer {
    pub async fn start(backends: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            backends: Mutex::new(backends),
            silent: watch::Sender::new(false),
            epoch: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Self { port, state, accepting }
    }

    /// From now on, new connections go there.
    pub fn send_to(&self, backends: Vec<SocketAddr>) {
        *self.state.backends.lock().unwrap() = backends;
    }

    /// Passes nothing on, and says nothing about it; or goes on where it stopped.
    pub fn silence(&self, silent: bool) {
        self.state.silent.send_replace(silent);
    }

    /// Cuts all connections that there are.
    pub fn cut(&self) {
        self.state.epoch.send_modify(|epoch| *epoch += 1);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut turn = 0;
    loop {
        let (client, _) = listener.accept().await.unwrap();
        turn += 1;
        tokio::spawn(connect(client, state.clone(), turn));
    }
}

/// Takes the first backend that answers, beginning with the one whose turn it is.
async fn connect(client: TcpStream, state: Arc<State>, turn: usize) {
    let mut epoch = state.epoch.subscribe();
    epoch.mark_unchanged();
    let mut backends = state.backends.lock().unwrap().clone();
    if backends.is_empty() {
        return;
    }
    let first = turn % backends.len();
    backends.rotate_left(first);
    for backend in backends {
        let Ok(server) = TcpStream::connect(backend).await else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((client_in, client_out), (server_in, server_out)) =
            (tokio::io::split(client), tokio::io::split(server));
        tokio::select! {
            () = async {
                tokio::join!(
                    pass(client_in, server_out, state.silent.subscribe()),
                    pass(server_in, client_out, state.silent.subscribe()),
                );
            } => {}
            _ = epoch.changed() => {}
        }
        return;
    }
}

async fn pass(
    mut from: ReadHalf<TcpStream>,
    mut to: WriteHalf<TcpStream>,
    mut silent: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await;
        if silent.wait_for(|silent| !silent).await.is_err() {
            return;
        }
        match read {
            Ok(length) if length > 0 && to.write_all(&buffer[..length]).await.is_ok() => {}
            _ => break,
        }
    }
    // The other direction may have more to say.
    let _ = to.shutdown().await;
}
