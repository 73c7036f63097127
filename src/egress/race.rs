//! Which of a name's addresses is connected to: the first that answers, both families tried.
//!
//! As RFC 8305 has it: families take turns, IPv6 first; the next address is tried a quarter of a
//! second after the last, or at once when that failed; the first connection wins and the others
//! are dropped. It resolves nothing and admits nothing: it is given addresses that passed.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

/// Most addresses of one name that are tried.
const ADDRESSES: usize = 8;
/// How long one address has before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first address that answers within `limit`.
///
/// # Errors
///
/// The last address's error; that there is no address; that the time was over.
pub(super) async fn connect(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    timeout(limit, race(in_turn(addresses), TcpStream::connect))
        .await
        .unwrap_or_else(|late| Err(late.into()))
}

/// Returns the addresses that are tried, in their order.
fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let of = |six: bool| addresses.iter().filter(move |at| at.is_ipv6() == six);
    let (mut six, mut four) = (of(true), of(false));
    let mut order = Vec::new();
    loop {
        let pair = [six.next(), four.next()];
        if pair == [None, None] || order.len() >= ADDRESSES {
            order.truncate(ADDRESSES);
            return order;
        }
        order.extend(pair.into_iter().flatten().copied());
    }
}

async fn race<T, F>(order: Vec<SocketAddr>, dial: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = order.into_iter();
    let mut tried = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    loop {
        match waiting.next() {
            Some(address) => tried.push(dial(address)),
            None if tried.is_empty() => return Err(last),
            None => {}
        }
        let next = Instant::now() + STAGGER;
        let is_last = waiting.len() == 0;
        tokio::select! {
            Some(ended) = tried.next() => match ended {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            },
            () = sleep_until(next), if !is_last => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns_and_only_eight_addresses_are_tried() {
        let given: Vec<SocketAddr> = (1..9)
            .map(|n| at(&format!("192.0.2.{n}:1")))
            .chain([at("[2001:db8::1]:1"), at("[2001:db8::2]:1")])
            .collect();
        let order = in_turn(&given);
        assert_eq!(order.len(), ADDRESSES);
        let families: Vec<bool> = order.iter().map(SocketAddr::is_ipv4).collect();
        assert_eq!(families[..5], [false, true, false, true, true]);
        assert_eq!(order[0], at("[2001:db8::1]:1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_a_quarter_of_a_second_and_a_refusing_one_nothing() {
        let (silent, refusing, good) =
            (at("[2001:db8::1]:1"), at("192.0.2.1:1"), at("192.0.2.2:1"));
        let begun = Instant::now();
        let asked = RefCell::new(Vec::new());
        let dial = |address| {
            asked.borrow_mut().push((address, begun.elapsed()));
            async move {
                match address {
                    a if a == silent => pending().await,
                    a if a == refusing => Err(io::ErrorKind::ConnectionRefused.into()),
                    a => Ok(a),
                }
            }
        };
        let won = race(vec![silent, refusing, good], dial).await.unwrap();
        assert_eq!(won, good);
        let asked = asked.into_inner();
        assert_eq!(
            asked
                .iter()
                .map(|(address, _)| *address)
                .collect::<Vec<_>>(),
            [silent, refusing, good]
        );
        let elapsed = begun.elapsed();
        assert!(
            elapsed >= STAGGER && elapsed < STAGGER + STAGGER / 2,
            "{elapsed:?}: {asked:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_first_still_wins_over_a_later_second() {
        let (late, later) = (at("[2001:db8::1]:1"), at("192.0.2.1:1"));
        let dial = |address| async move {
            let wait = if address == late { 300 } else { 400 };
            tokio::time::sleep(Duration::from_millis(wait)).await;
            Ok(address)
        };
        assert_eq!(race(vec![late, later], dial).await.unwrap(), late);
    }

    #[tokio::test(start_paused = true)]
    async fn when_none_answers_the_last_error_or_the_time_ends_it() {
        let refused = |_| async { io::Result::<()>::Err(io::ErrorKind::ConnectionRefused.into()) };
        let error = race(vec![at("192.0.2.1:1"), at("192.0.2.2:1")], refused).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let none = connect(&[], Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_family_that_refuses_leaves_the_connection_to_the_other() {
        let closed = std::net::TcpListener::bind("[::1]:0").unwrap().local_addr();
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [closed.unwrap(), open.local_addr().unwrap()];
        let found = connect(&addresses, Duration::from_secs(10)).await.unwrap();
        assert_eq!(found.peer_addr().unwrap(), addresses[1]);
    }
}
