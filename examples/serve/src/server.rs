//! Connections: how they are accepted, how long they may take, and how they end.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::desk::Desk;
use crate::say;

/// How long connections may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Between requests and for the head of one; for a client to take what it is sent.
    pub(crate) slow: Duration,
    /// For answers under way, once the server is asked to end.
    pub(crate) grace: Duration,
}

/// Serves until a signal comes; then lets the answers under way end. False if the scheduler
/// ended by itself.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    desk: Arc<Desk>,
    mut scheduler: oneshot::Receiver<()>,
    times: Times,
) -> bool {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut signal = pin!(signal());
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accept => accepted,
            () = &mut signal => break,
            _ = &mut scheduler => return false,
        };
        let Ok((stream, _)) = accepted else {
            sleep(Duration::from_millis(100)).await; // no file handles are left, for instance
            continue;
        };
        let connection = graceful.watch(connection(stream, router.clone(), times.slow));
        tokio::spawn(async move {
            let _place = place;
            let _ = connection.await; // a client that leaves, or is too slow, is no error
        });
    }
    drop(listener);
    desk.close();
    say!("carat-serve: ends once the answers under way are over; a second signal ends them");
    let mut finished = pin!(graceful.shutdown());
    tokio::select! {
        () = &mut finished => return true,
        () = sleep(times.grace) => {}
        () = self::signal() => {}
    }
    desk.end();
    let _ = timeout(LAST_WORDS, finished).await;
    true
}

/// A stream that gives up on a client who does not read.
type Stream = TokioIo<Pin<Box<TimeoutStream<TcpStream>>>>;

fn connection(
    stream: TcpStream,
    router: Router,
    slow: Duration,
) -> http1::Connection<Stream, TowerToHyperService<Router>> {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(slow));
    let service = TowerToHyperService::new(router);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(slow)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
}

/// Waits for a signal that asks the program to end.
async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// More connections wait until others end.
const CONNECTIONS_MAX: usize = 1024;

/// How long clients may take to read that their answer was ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
