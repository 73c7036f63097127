//! What all tasks of one gateway share.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore, mpsc},
    time::timeout,
};

use crate::{
    event::EgressKind,
    name::Role,
    policy::{Denied, Egress, Permit, Rates, Target},
};

use super::{
    dial::Resolve,
    gateway::{Doors, Limits, SecretValues},
    inspect::Inspection,
    ledger::Ledger,
    limits::{Budget, Budgets, Tally, TooMany},
    names::Names,
    record::{Call, Decision, Fact},
};

/// Connections of one listener that may wait for a seat.
const BACKLOG: i32 = 4096;

/// How long a call may wait for its turn before that is worth a word in the journal.
const LONG: Duration = Duration::from_secs(1);

/// A piece of work of a gateway.
pub(super) type Task = BoxFuture<'static, ()>;

/// Why a connection is not passed on: a denial by the policy, or what is spoken on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Why {
    /// The rule that covers the target, if any.
    pub(super) rule: Option<String>,
    /// One sentence.
    pub(super) reason: String,
    /// When the same may be allowed; none for never.
    pub(super) retry_after: Option<Duration>,
}

impl Why {
    /// The target is allowed, but not what is done with it.
    pub(super) fn misuse(permit: &Permit, reason: String) -> Self {
        Self {
            rule: Some(permit.rule().to_owned()),
            reason,
            retry_after: None,
        }
    }

    /// A request is allowed by a rule, but not as it is.
    pub(super) fn under(rule: &str, reason: String) -> Self {
        Self {
            rule: Some(rule.to_owned()),
            reason,
            retry_after: None,
        }
    }
}

impl From<Denied> for Why {
    fn from(denied: Denied) -> Self {
        Self {
            rule: denied.rule,
            reason: denied.reason,
            retry_after: None,
        }
    }
}

/// A request that a rule allows.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) target: Target,
    pub(super) rule: String,
    pub(super) call: Call,
}

/// What all tasks of one gateway share.
pub(super) struct Context {
    pub(super) egress: Egress,
    pub(super) role: Role,
    pub(super) limits: Limits,
    pub(super) ledger: Ledger,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) names: Mutex<Names>,
    /// One seat per open connection of the sandbox.
    pub(super) seats: Arc<Semaphore>,
    pub(super) doors: Arc<dyn Doors>,
    pub(super) rates: Rates,
    pub(super) budgets: Arc<Budgets>,
    pub(super) tally: Arc<Tally>,
    pub(super) inspection: Arc<Inspection>,
    pub(super) secrets: SecretValues,
    /// To the one task that owns all others, so that they end with it.
    pub(super) tasks: mpsc::UnboundedSender<Task>,
}

impl Context {
    /// Runs `task` until it or the gateway ends.
    pub(super) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Fails only while the gateway ends, and then nothing more is to run.
        drop(self.tasks.send(Box::pin(task)));
    }

    /// Asks the sandbox for a listener and takes it over.
    pub(super) async fn open(&self, at: SocketAddr) -> io::Result<TcpListener> {
        let listener = timeout(self.limits.door, self.doors.open(at)).await??;
        listener.set_nonblocking(true)?;
        // Connections without a seat wait in the kernel, so its queue must be long; the kernel
        // cuts this to what it allows.
        rustix::net::listen(&listener, BACKLOG)?;
        TcpListener::from_std(listener)
    }

    /// Returns what the role has left under the rule that allows a connection.
    pub(super) fn budget(&self, permit: &Permit) -> Arc<Budget> {
        self.budget_under(permit.rule())
    }

    /// Returns what the role has left under a rule.
    pub(super) fn budget_under(&self, rule: &str) -> Arc<Budget> {
        self.budgets.of(&self.role, rule, &self.rates)
    }

    /// Waits until one more call may go out; returns how long that was.
    pub(super) async fn turn(&self, permit: &Permit) -> Result<Duration, TooMany> {
        self.turn_under(permit.rule()).await
    }

    /// Waits until one more call may go out under a rule; returns how long that was.
    pub(super) async fn turn_under(&self, rule: &str) -> Result<Duration, TooMany> {
        let became = self.budget_under(rule).call(self.limits.turn).await;
        self.tally.call(became);
        became
    }

    /// Writes down that a connection is allowed, after a wait for its turn.
    pub(super) fn allow(&self, permit: &Permit, waited: Duration) {
        self.connect(permit.target(), Ok(permit.rule()), long_wait(waited));
    }

    /// Writes down that a request is allowed, after a wait for its turn.
    pub(super) fn allow_line(&self, line: &Line, waited: Duration) {
        self.note_line(line, long_wait(waited));
    }

    /// Writes down something about an allowed request.
    pub(super) fn note_line(&self, line: &Line, reason: Option<String>) {
        self.request((&line.target, &line.call), Ok(&line.rule), reason);
    }

    /// Writes down that an allowed request failed.
    pub(super) fn fail_call(&self, target: &Target, call: &Call, why: &Why) {
        let rule = why.rule.as_deref().unwrap_or_default();
        self.request((target, call), Ok(rule), Some(why.reason.clone()));
    }

    /// Writes down that a request is denied.
    pub(super) fn deny_call(&self, target: &Target, call: &Call, why: &Why) {
        let rule = Err(why.rule.as_deref());
        self.request((target, call), rule, Some(why.reason.clone()));
    }

    /// Writes down that an allowed connection failed.
    pub(super) fn fail(&self, permit: &Permit, reason: String) {
        self.connect(permit.target(), Ok(permit.rule()), Some(reason));
    }

    /// Writes down that a connection is denied.
    pub(super) fn deny(&self, target: &Target, why: &Why) {
        self.connect(target, Err(why.rule.as_deref()), Some(why.reason.clone()));
    }

    fn connect(&self, target: &Target, rule: Result<&str, Option<&str>>, reason: Option<String>) {
        self.decided((target, None), rule, reason);
    }

    fn request(
        &self,
        (target, call): (&Target, &Call),
        rule: Result<&str, Option<&str>>,
        reason: Option<String>,
    ) {
        self.decided((target, Some(call)), rule, reason);
    }

    fn decided(
        &self,
        (target, call): (&Target, Option<&Call>),
        rule: Result<&str, Option<&str>>,
        reason: Option<String>,
    ) {
        let kind = match call {
            Some(_) => EgressKind::Request,
            None => EgressKind::Connect,
        };
        self.ledger.note(Fact::Decision(Decision {
            kind,
            call: call.cloned(),
            host: target.name.to_string(),
            port: Some(target.port),
            allowed: rule.is_ok(),
            rule: rule.map_or_else(|denied| denied, Some).map(str::to_owned),
            reason,
        }));
    }
}

/// Says that a call waited so long that it is worth a word.
fn long_wait(waited: Duration) -> Option<String> {
    (waited > LONG).then(|| "rate: it waited over a second for its turn".to_owned())
}
