//! Accepting connections, never more than there are seats.

use std::{net::TcpListener, sync::Arc, time::Duration};

use tokio::{io::unix::AsyncFd, net::TcpStream, sync::Semaphore, time::sleep};

use super::context::{Context, Task};

/// How long to wait when the system can accept nothing, such as without descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the gateway ends. A seat is taken before a connection is accepted, and only when
/// one waits: so the number of listeners does not use up seats, and overload stays in the kernel's
/// backlog.
pub(super) async fn accept(
    context: Arc<Context>,
    listener: AsyncFd<TcpListener>,
    seats: Arc<Semaphore>,
    serve: impl Fn(Arc<Context>, TcpStream) -> Task + Send + 'static,
) {
    // Both errors mean that the gateway is at its end.
    while let Ok(mut ready) = listener.readable().await {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match ready.try_io(|listener| listener.get_ref().accept()) {
            Ok(Ok((stream, _))) => {
                let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream))
                else {
                    continue;
                };
                let task = serve(Arc::clone(&context), stream);
                context.run(async move {
                    task.await;
                    drop(seat);
                });
            }
            Ok(Err(_)) => {
                drop(seat);
                sleep(PAUSE).await;
            }
            Err(_would_block) => {}
        }
    }
}
