//! What all tasks of one gateway share.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    net::TcpListener,
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout},
};

use crate::{
    event::EgressKind,
    name::{HostName, Role},
    policy::{Denied, Egress, Permit, Protocol, Rates, Target, name_ports},
};

use super::{
    ask::Asking,
    dial::Resolve,
    gateway::{Doors, Limits, SecretValues},
    ledger::Ledger,
    limits::{Budget, Tally, TooMany},
    names::Names,
    openings::Asked,
    proxy::Proxies,
    record::{Call, Decision, Fact},
    threads::Shared,
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
    /// What a person is asked for now.
    pub(super) asking: Asking,
    /// One seat per open connection of the sandbox.
    pub(super) seats: Arc<Semaphore>,
    pub(super) doors: Arc<dyn Doors>,
    pub(super) rates: Rates,
    /// What all gateways of the orchestrator have in common.
    pub(super) shared: Arc<Shared>,
    pub(super) tally: Arc<Tally>,
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
        self.shared.budgets.of(&self.role, rule, &self.rates)
    }

    /// Decides by the role's rules and by what a person opened to it.
    pub(super) fn decide(&self, target: &Target, asked: Asked) -> Result<Permit, Denied> {
        let own = (&self.role, &self.egress);
        self.shared.openings.decide(own, target, asked)
    }

    /// Returns the ports that are open to the role for a name.
    pub(super) fn ports(&self, name: &HostName) -> Vec<(u16, Protocol)> {
        let mut ports = name_ports(&self.egress, name);
        for (port, protocol) in self.shared.openings.ports(&self.role, name) {
            if !ports.iter().any(|(had, _)| *had == port) {
                ports.push((port, protocol));
            }
        }
        // So that there is a connection to ask about.
        if ports.is_empty() && self.asks_for_name(name) {
            ports.extend([(443, Protocol::Tls), (80, Protocol::Http)]);
        }
        ports
    }

    /// Returns whether the role may ask for one more name in this minute.
    pub(super) fn affords_name(&self, name: &HostName) -> bool {
        let most = (self.limits.names_per_minute, Instant::now());
        self.shared.quotas.affords(&self.role, name, most)
    }

    /// Takes one of the connections that the role may have to the host, after a wait at most as
    /// long as a call's; refused too when the role's bytes of the run are used up.
    pub(super) async fn seat(&self, permit: &Permit) -> Result<OwnedSemaphorePermit, Why> {
        if let Some(most) = self.budget(permit).spent() {
            let reason = format!("bytes: the role has used up its {most} bytes of the run");
            return Err(Why::misuse(permit, reason));
        }
        let (name, most) = (&permit.target().name, self.limits.per_host);
        let seat = self
            .shared
            .quotas
            .connection((&self.role, name), most, self.limits.turn);
        seat.await.ok_or_else(|| Why {
            retry_after: Some(LONG),
            ..Why::misuse(
                permit,
                format!("connections: the role has {most} open to `{name}`"),
            )
        })
    }

    /// Returns what knows the way out of this host.
    pub(super) fn way_out(&self) -> (&dyn Resolve, &Proxies) {
        (self.resolver.as_ref(), &self.shared.proxies)
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

    /// Writes down that a person is asked.
    pub(super) fn note_ask(&self, target: &Target, reason: String) {
        self.ledger.note(Fact::Decision(Decision {
            kind: EgressKind::Ask,
            host: target.name.to_string(),
            port: Some(target.port),
            allowed: false,
            rule: None,
            reason: Some(reason),
            call: None,
        }));
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
