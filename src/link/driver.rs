//! The one task that owns a connection: sends what is asked, hands each reply to who waits for it.
//!
//! When it ends, for whatever reason, everyone who still waits learns that the link is lost.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
};

use loki_guest::{Packet, Reply, Request, WireError, decode_reply, encode_request, receive, send};
use rustix::process::Signal;
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{mpsc, oneshot},
};

use super::{Exit, LinkError};

/// Where the descriptors asked for go.
pub(super) type Answer = oneshot::Sender<Result<Vec<OwnedFd>, LinkError>>;

/// A request, and who waits for its reply.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) request: Request,
    pub(super) waiting: Option<Waiting>,
}

/// Who waits for the reply to a request, and for the end of what it started.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: u32,
    pub(super) answer: Answer,
    pub(super) exit: Option<oneshot::Sender<Exit>>,
}

impl Waiting {
    /// Waits for sockets, which have no end to wait for.
    pub(super) fn bound(id: u32, answer: Answer) -> Self {
        Self {
            id,
            answer,
            exit: None,
        }
    }
}

/// The state of one connection.
pub(super) struct Driver {
    /// Of packets, whatever the type's name says: only its readiness is used.
    socket: UnixStream,
    orders: mpsc::Receiver<Order>,
    /// Requests that have no reply yet.
    waiting: HashMap<u32, Waiting>,
    /// Programs that have not ended.
    running: HashMap<u32, oneshot::Sender<Exit>>,
    /// What the socket had no room for. Orders are taken only when it is empty.
    outbox: VecDeque<Packet>,
}

enum Turn {
    Received(Packet),
    Sent,
    Ordered(Order),
}

impl Driver {
    pub(super) fn new(socket: UnixStream, orders: mpsc::Receiver<Order>) -> Self {
        let (waiting, running, outbox) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self {
            socket,
            orders,
            waiting,
            running,
            outbox,
        }
    }

    /// Serves until the link ends, on either side. Why does not matter to anyone: all is lost.
    pub(super) async fn run(mut self) {
        while let Ok(turn) = self.turn().await {
            let served = match turn {
                Turn::Received(packet) => self.receive(packet),
                Turn::Ordered(order) => {
                    self.order(order);
                    Ok(())
                }
                Turn::Sent => Ok(()),
            };
            if served.is_err() {
                return;
            }
        }
    }

    async fn turn(&mut self) -> io::Result<Turn> {
        let idle = self.outbox.is_empty();
        tokio::select! {
            packet = receive_from(&self.socket) => packet.map(Turn::Received),
            sent = send_next(&self.socket, &mut self.outbox), if !idle => sent.map(|()| Turn::Sent),
            order = self.orders.recv(), if idle => {
                order.map(Turn::Ordered).ok_or_else(|| io::ErrorKind::NotConnected.into())
            }
        }
    }

    fn order(&mut self, Order { request, waiting }: Order) {
        match (encode_request(&request), waiting) {
            (Ok(packet), waiting) => {
                self.outbox.push_back(packet);
                self.waiting
                    .extend(waiting.map(|waiting| (waiting.id, waiting)));
            }
            // Whoever stopped waiting needs no error.
            (Err(error), Some(waiting)) => drop(waiting.answer.send(Err(error.into()))),
            (Err(_), None) => {}
        }
    }

    fn receive(&mut self, packet: Packet) -> Result<(), WireError> {
        match decode_reply(&packet)? {
            Reply::Started { id } => self.started(id, packet.descriptors),
            Reply::Bound { id } => {
                // Sockets nobody waits for any more are closed.
                drop(self.waited_for(id)?.answer.send(Ok(packet.descriptors)));
                Ok(())
            }
            Reply::Refused { id, step, errno } => {
                let refused = LinkError::Refused { step, errno };
                // A refusal nobody waits for any more changed nothing.
                drop(self.waited_for(id)?.answer.send(Err(refused)));
                Ok(())
            }
            Reply::Exited { id, code, signal } => {
                let unknown = WireError::Malformed("the end of a program that does not run");
                let exit = Exit {
                    code,
                    signal: Some(signal).filter(|signal| *signal != 0),
                };
                // An end nobody waits for is no loss.
                self.running.remove(&id).ok_or(unknown)?.send(exit).ok();
                Ok(())
            }
            Reply::Hello { .. } => Err(WireError::Malformed("a second hello")),
        }
    }

    fn started(&mut self, id: u32, stdio: Vec<OwnedFd>) -> Result<(), WireError> {
        let Waiting { answer, exit, .. } = self.waited_for(id)?;
        let exit = exit.ok_or(WireError::Malformed("a start that nobody asked for"))?;
        self.running.insert(id, exit);
        if answer.send(Ok(stdio)).is_err() {
            let signal = Signal::KILL.as_raw();
            self.outbox
                .push_back(encode_request(&Request::Signal { id, signal })?);
        }
        Ok(())
    }

    fn waited_for(&mut self, id: u32) -> Result<Waiting, WireError> {
        self.waiting
            .remove(&id)
            .ok_or(WireError::Malformed("a reply that nobody asked for"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Whoever may sever the link has the socket too: closing ours would not end it.
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both).ok();
    }
}

/// Receives one packet from a non-blocking socket. Safe to cancel.
pub(super) async fn receive_from(socket: &UnixStream) -> io::Result<Packet> {
    socket
        .async_io(Interest::READABLE, || Ok(receive(socket.as_fd())?))
        .await
}

async fn send_next(socket: &UnixStream, outbox: &mut VecDeque<Packet>) -> io::Result<()> {
    if let Some(packet) = outbox.front() {
        socket
            .async_io(Interest::WRITABLE, || Ok(send(socket.as_fd(), packet)?))
            .await?;
        outbox.pop_front();
    }
    Ok(())
}
