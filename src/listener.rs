//! One listener: its time-outs, its limit of connections, TLS where asked for, and a graceful end.

use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

/// Open connections a listener keeps; further ones are closed at once. The API server holds about 25 each.
const CONNECTIONS_MAX: usize = 4096;
/// How long a connection may be silent before the next request's head is complete. Above the 90 s for which the
/// API server keeps idle connections, so that it never writes into one that is being closed.
const HEAD_TIMEOUT: Duration = Duration::from_mins(2);
const HTTP2_PING: Duration = Duration::from_secs(30);

/// An address that is bound but not served yet: whoever asked for it learns at once if it is taken.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
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
        Ok(Self { address: socket.local_addr()?, socket })
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
        let limit = Limit(Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        let mut server = axum_server::from_tcp(self.socket)?.handle(handle);
        let http = server.http_builder();
        http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
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
struct Limit(Arc<Semaphore>);

impl<S> Accept<TcpStream, S> for Limit {
    type Stream = TcpStream;
    type Service = Placed<S>;
    type Future = Ready<io::Result<(TcpStream, Placed<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = self.0.clone().try_acquire_owned().map_err(|_| io::Error::other("too many connections"));
        ready(place.and_then(|place| {
            stream.set_nodelay(true)?;
            Ok((stream, Placed { service, _place: Arc::new(place) }))
        }))
    }
}

#[derive(Debug, Clone)]
struct Placed<S> {
    service: S,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<R, S: Service<R>> Service<R> for Placed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.service.call(request)
    }
}
