//! Serves a router on loopback: on a thread of its own, plain or with TLS, with a journal and with faults.
//!
//! It holds the connections itself, since a router can neither close one without an answer nor send what is not HTTP.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::certificates::{Authority, Leaf};
use super::faults::{Faults, Outcome};
use super::journal::Journal;

/// A server that runs as long as this lives.
pub struct Served {
    address: SocketAddr,
    authority: Authority,
    inside: Arc<Inside>,
    listening: Mutex<Option<Listening>>,
    pub journal: Journal,
    pub faults: Faults,
}

struct Inside {
    router: Router,
    tls: Mutex<Option<TlsAcceptor>>,
    journal: Journal,
    faults: Faults,
}

/// A thread that accepts connections until its sender is dropped, and tells when it has ended.
struct Listening {
    stop: watch::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Served {
    /// Serves on a free port; with TLS where a certificate is wanted. The router is made once the address is known.
    pub fn start(leaf: Option<Leaf>, router: impl FnOnce(SocketAddr) -> Router) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let authority = Authority::new();
        let (journal, faults) = (Journal::default(), Faults::default());
        let inside = Arc::new(Inside {
            router: router(address),
            tls: Mutex::new(leaf.map(|leaf| TlsAcceptor::from(authority.server(leaf)))),
            journal: journal.clone(),
            faults: faults.clone(),
        });
        let listening = Mutex::new(Some(listen(listener, Arc::clone(&inside))));
        Self { address, authority, inside, listening, journal, faults }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self) -> String {
        let scheme = if self.inside.tls.lock().unwrap().is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The CA that clients must trust, PEM.
    pub fn ca(&self) -> &str {
        &self.authority.pem
    }

    /// SHA-256 of the certificate that it shows, as openssl prints it.
    pub fn fingerprint(&self) -> String {
        self.authority.fingerprint()
    }

    /// Shows another certificate to everybody who connects from now on.
    pub fn show(&self, leaf: Leaf) {
        *self.inside.tls.lock().unwrap() = Some(TlsAcceptor::from(self.authority.server(leaf)));
    }

    /// Cuts all connections and refuses new ones.
    pub fn stop(&self) {
        if let Some(Listening { stop, ended }) = self.listening.lock().unwrap().take() {
            drop(stop);
            // Nothing is ever sent: the other end is gone with the thread.
            let _ = ended.recv();
        }
    }

    /// Listens again after [`Served::stop`], on the same port.
    pub fn resume(&self) {
        let listener = std::iter::repeat_with(|| TcpListener::bind(self.address))
            .take(100)
            .find_map(|bound| bound.inspect_err(|_| std::thread::sleep(Duration::from_millis(10))).ok())
            .expect("the port is taken");
        *self.listening.lock().unwrap() = Some(listen(listener, Arc::clone(&self.inside)));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port where nobody listens, and nobody else can while this lives.
pub struct Refusing(TcpSocket);

impl Refusing {
    pub fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self(socket)
    }

    pub fn host(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}

fn listen(listener: TcpListener, inside: Arc<Inside>) -> Listening {
    listener.set_nonblocking(true).unwrap();
    let (stop, mut stopped) = watch::channel(());
    let (ending, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                tokio::select! {
                    _ = stopped.changed() => break,
                    accepted = listener.accept() => {
                        if let Ok((socket, _)) = accepted {
                            tokio::spawn(connection(socket, Arc::clone(&inside)));
                        }
                    }
                }
            }
        });
        // With the runtime go all connections.
        drop(runtime);
        drop(ending);
    });
    Listening { stop, ended }
}

async fn connection(socket: TcpStream, inside: Arc<Inside>) {
    socket.set_nodelay(true).unwrap();
    let tls = inside.tls.lock().unwrap().clone();
    let socket: Box<dyn Stream> = match tls {
        Some(tls) => match tls.accept(socket).await {
            Ok(socket) => Box::new(socket),
            Err(_) => return,
        },
        None => Box::new(socket),
    };
    let mut socket = Shared(Arc::new(Mutex::new(socket)));
    let raw = Mutex::new(None);
    let service = service_fn(async |request| {
        answer(&inside, request).await.map_err(|bytes| {
            *raw.lock().unwrap() = Some(bytes);
            io::Error::other("the connection is to be closed")
        })
    });
    // An error is the client's affair or a fault that was asked for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket.clone()), service).await;
    if let Some(bytes) = raw.into_inner().unwrap() {
        let _ = socket.write_all(bytes).await;
    }
    let _ = socket.shutdown().await;
}

/// The answer, or what is written instead of one.
async fn answer(inside: &Inside, request: Request<Incoming>) -> Result<Response<Body>, &'static [u8]> {
    let (parts, body) = request.into_parts();
    let _in_flight = inside.journal.arrival(&parts);
    let (latency, fault) = inside.faults.take(&parts.method, parts.uri.path());
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let router = inside.router.clone();
    let right = async {
        let answer: Result<_, Infallible> = router.oneshot(Request::from_parts(parts, Body::new(body))).await;
        answer.unwrap()
    };
    match fault {
        None => Ok(right.await),
        Some(fault) => match fault.apply(right).await {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Raw(bytes) => Err(bytes),
        },
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that can still be written to after HTTP is done with it.
#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn Stream>>>);

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_write(cx, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock().unwrap()).poll_shutdown(cx)
    }
}
