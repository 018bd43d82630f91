//! One listener: its time-outs, its limit of connections, TLS where asked for, and a graceful end.

use std::future::{Future, Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, Response, Version, header};
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use futures::FutureExt;
use futures::future::Map;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tower::Service;

use crate::runtime::Stopping;

/// Open connections a listener keeps; further ones are closed at once. The API server holds about 25 each.
const CONNECTIONS_MAX: usize = 4096;
/// How long a connection may be silent before the next request's head is complete, and how long it may take to its
/// first request. Above the 90 s for which the
/// API server keeps idle connections, so that it never writes into one that is being closed.
pub const HEAD_TIMEOUT: Duration = Duration::from_mins(2);
const HTTP2_PING: Duration = Duration::from_secs(30);

/// An address that is bound but not served yet: whoever asked for it learns at once if it is taken.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    head_timeout: Duration,
    stopping: Option<Stopping>,
}

impl Listener {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// The operating system's, with the address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        let socket = TcpListener::bind(address).map_err(named)?;
        socket.set_nonblocking(true)?;
        Ok(Self { address: socket.local_addr()?, socket, head_timeout: HEAD_TIMEOUT, stopping: None })
    }

    /// Gives clients another time for a request's head than [`HEAD_TIMEOUT`].
    #[must_use]
    pub fn with_head_timeout(self, head_timeout: Duration) -> Self {
        Self { head_timeout, ..self }
    }

    /// Asks clients to close their connections once this says so.
    #[must_use]
    pub fn with_stopping(self, stopping: Stopping) -> Self {
        Self { stopping: Some(stopping), ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `handle` is shut down, with TLS where a configuration is given.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn serve(
        self,
        router: Router,
        tls: Option<Arc<ServerConfig>>,
        handle: Handle<SocketAddr>,
    ) -> io::Result<()> {
        let limit = Limit {
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            first_request: self.head_timeout,
            stopping: self.stopping,
        };
        let mut server = axum_server::from_tcp(self.socket)?.handle(handle);
        let http = server.http_builder();
        http.http1().timer(TokioTimer::new()).header_read_timeout(self.head_timeout);
        http.http2().timer(TokioTimer::new()).keep_alive_interval(HTTP2_PING).max_concurrent_streams(250);
        let service = router.into_make_service();
        match tls {
            Some(config) => {
                let tls = RustlsAcceptor::new(RustlsConfig::from_config(config)).acceptor(limit);
                server.acceptor(tls).serve(service).await
            }
            None => server.acceptor(limit).serve(service).await,
        }
    }
}

/// Hands out a connection's place, held by its service for as long as it lives.
#[derive(Debug, Clone)]
struct Limit {
    places: Arc<Semaphore>,
    /// How long a connection may take to its first request.
    first_request: Duration,
    stopping: Option<Stopping>,
}

impl<S> Accept<TcpStream, S> for Limit {
    type Stream = Awaited;
    type Service = Placed<S>;
    type Future = Ready<io::Result<(Awaited, Placed<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = self.places.clone().try_acquire_owned();
        ready(place.map_err(|_| io::Error::other("too many connections")).and_then(|place| {
            stream.set_nodelay(true)?;
            let asked = Arc::new(AtomicBool::new(false));
            let deadline = Some((Box::pin(sleep(self.first_request)), asked.clone()));
            let stopping = self.stopping.clone();
            Ok((Awaited { stream, deadline }, Placed { service, asked, stopping, _place: Arc::new(place) }))
        }))
    }
}

#[derive(Debug, Clone)]
struct Placed<S> {
    service: S,
    /// Whether a request has come.
    asked: Arc<AtomicBool>,
    stopping: Option<Stopping>,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<Q, A, S: Service<Request<Q>, Response = Response<A>>> Service<Request<Q>> for Placed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Map<S::Future, fn(Result<S::Response, S::Error>) -> Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        // A client that keeps its connections for ever would write a request into one that is just being closed, and
        // Go sends no POST twice. HTTP/2 has a frame of its own for that.
        let last = self.stopping.as_ref().is_some_and(Stopping::begun) && request.version() < Version::HTTP_2;
        self.service.call(request).map(if last { closing } else { unchanged })
    }
}

fn unchanged<A, E>(answer: Result<Response<A>, E>) -> Result<Response<A>, E> {
    answer
}

fn closing<A, E>(answer: Result<Response<A>, E>) -> Result<Response<A>, E> {
    answer.map(|mut response| {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

/// A connection that is ended unless it makes a request in time. hyper's own time-outs begin once it knows which
/// version of HTTP is spoken; until then it would wait for ever.
#[derive(Debug)]
struct Awaited {
    stream: TcpStream,
    /// `None` once the first request has come.
    deadline: Option<(Pin<Box<Sleep>>, Arc<AtomicBool>)>,
}

impl Awaited {
    /// An error once the first request is overdue.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some((sleep, asked)) = &mut self.deadline else { return Ok(()) };
        if asked.load(Ordering::Relaxed) {
            self.deadline = None;
            return Ok(());
        }
        match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Awaited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Awaited {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }
}
