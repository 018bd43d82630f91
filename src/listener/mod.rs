//! One listener: its time-outs, its limits, TLS where asked for, and a graceful end.

mod places;
mod stream;

use std::future::{self, Future, Ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, Response, Version, header};
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use pin_project_lite::pin_project;
use places::{Open, Place, Places};
use rustls::ServerConfig;
use stream::Watched;
use tokio::net::TcpStream;
use tower::Service;

use crate::runtime::Stopping;

/// Open connections a listener keeps, of which one address may have half. An API server holds about 25.
const CONNECTIONS_MAX: usize = 1024;
/// Connections that wait to be accepted; a burst of them must not make others try again in a second.
const BACKLOG: i32 = 4096;
/// How long a connection may be silent before the next request's head is complete. Above the 90 s for which the
/// API server keeps idle connections, so that it never writes into one that is being closed.
pub const HEAD_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a connection may take to its first request, its TLS handshake included.
const FIRST_REQUEST: Duration = Duration::from_secs(8);
const HTTP2_PING: Duration = Duration::from_secs(30);
/// What a connection may hold: a request's head, and what of a body nobody has read yet; in bytes.
const HEAD_MAX: usize = 32 * 1024;
const WINDOW: u32 = 128 * 1024;
/// Requests of one connection at one time.
const STREAMS_MAX: u32 = 64;
/// Bytes of answers that wait in one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// An address that is bound but not served yet: whoever asked for it learns at once if it is taken.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    head_timeout: Duration,
    connections: usize,
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
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            head_timeout: HEAD_TIMEOUT,
            connections: CONNECTIONS_MAX,
            stopping: None,
        })
    }

    /// Keeps another number of connections than usual.
    #[must_use]
    pub fn with_connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Gives clients another time for a request's head than [`HEAD_TIMEOUT`], and for the first one no more than that.
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
        let limit = Limit { first_request: self.head_timeout.min(FIRST_REQUEST) };
        let mut server = axum_server::from_tcp(self.socket)?.handle(handle);
        let http = server.http_builder();
        http.http1().timer(TokioTimer::new()).header_read_timeout(self.head_timeout).max_buf_size(HEAD_MAX);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(SEND_BUFFER);
        let service = Seating { router, places: Places::new(self.connections), stopping: self.stopping };
        match tls {
            Some(config) => {
                let tls = RustlsAcceptor::new(RustlsConfig::from_config(config)).acceptor(limit);
                server.acceptor(tls).serve(service).await
            }
            None => server.acceptor(limit).serve(service).await,
        }
    }
}

/// Hands out a connection's place, held by its service and its stream for as long as they live. This is asked in the order
/// in which connections come; what accepts them runs in a task each, in any order, and whoever came first would push
/// somebody out who came later.
#[derive(Debug, Clone)]
struct Seating {
    router: Router,
    places: Arc<Places>,
    stopping: Option<Stopping>,
}

impl Service<SocketAddr> for Seating {
    type Response = Placed<Router>;
    type Error = io::Error;
    type Future = Ready<io::Result<Placed<Router>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, client: SocketAddr) -> Self::Future {
        let place = self.places.take(client.ip()).ok_or_else(|| io::Error::other("too many connections"));
        let (service, stopping) = (self.router.clone(), self.stopping.clone());
        future::ready(place.map(|place| Placed { service, place, stopping }))
    }
}

/// Watches a connection that has a place.
#[derive(Debug, Clone)]
struct Limit {
    /// How long a connection may take to its first request.
    first_request: Duration,
}

impl<S> Accept<TcpStream, Placed<S>> for Limit {
    type Stream = Watched;
    type Service = Placed<S>;
    type Future = Ready<io::Result<(Watched, Placed<S>)>>;

    fn accept(&self, stream: TcpStream, service: Placed<S>) -> Self::Future {
        let watched = stream
            .set_nodelay(true)
            .map(|()| Watched::new(stream, service.place.clone(), self.first_request));
        future::ready(watched.map(|stream| (stream, service)))
    }
}

#[derive(Debug, Clone)]
struct Placed<S> {
    service: S,
    place: Arc<Place>,
    stopping: Option<Stopping>,
}

impl<Q, A, S: Service<Request<Q>, Response = Response<A>>> Service<Request<Q>> for Placed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let open = self.place.open();
        // A client that keeps its connections for ever would write a request into one that is just being closed, and
        // Go sends no POST twice. HTTP/2 has a frame of its own for that.
        let last = self.stopping.as_ref().is_some_and(Stopping::begun) && request.version() < Version::HTTP_2;
        Answering { answer: self.service.call(request), last, _open: open }
    }
}

pin_project! {
    /// A request on its way, which keeps its connection from passing for idle.
    struct Answering<F> {
        #[pin]
        answer: F,
        last: bool,
        _open: Open,
    }
}

impl<A, E, F: Future<Output = Result<Response<A>, E>>> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(cx));
        if let Ok(response) = &mut answer
            && *this.last
        {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(answer)
    }
}
