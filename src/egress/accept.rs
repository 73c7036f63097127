//! Accepting connections, never more than there are seats.

use std::{future::poll_fn, io, net::SocketAddr, sync::Arc, task::Poll, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::context::{Context, Task};

/// How long to wait when the system can accept nothing, such as without descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the gateway ends. A seat is taken before a connection is accepted, and only when
/// one waits: so the number of listeners does not use up seats, and overload stays in the kernel's
/// backlog.
pub(super) async fn accept(
    context: Arc<Context>,
    listener: TcpListener,
    seats: Arc<Semaphore>,
    serve: impl Fn(Arc<Context>, TcpStream) -> Task + Send + 'static,
) {
    let mut held = None;
    loop {
        match seated(&listener, &seats, held.take()).await {
            Some((seat, Ok((stream, _)))) => {
                let task = serve(Arc::clone(&context), stream);
                context.run(async move {
                    task.await;
                    drop(seat);
                });
            }
            Some((seat, Err(_))) => {
                drop(seat);
                sleep(PAUSE).await;
            }
            None => match Arc::clone(&seats).acquire_owned().await {
                Ok(seat) => held = Some(seat),
                Err(_closed) => return,
            },
        }
    }
}

type Accepted = (OwnedSemaphorePermit, io::Result<(TcpStream, SocketAddr)>);

/// Waits for a connection and takes it with a seat; none when a connection may wait and all seats
/// are taken. While nothing waits no seat is held.
async fn seated(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
    mut held: Option<OwnedSemaphorePermit>,
) -> Option<Accepted> {
    poll_fn(|cx| {
        let Some(seat) = held
            .take()
            .or_else(|| Arc::clone(seats).try_acquire_owned().ok())
        else {
            return Poll::Ready(None);
        };
        listener
            .poll_accept(cx)
            .map(|accepted| Some((seat, accepted)))
    })
    .await
}
