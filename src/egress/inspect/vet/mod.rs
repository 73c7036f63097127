//! Vetting: what a request asks of a package registry, held against its rule before any of it is
//! passed on.
//!
//! What is decided is decided by [`crate::vetting`]. Added here is what it cannot know: when a
//! version came out. A client with a lock file asks straight for the file, so the gateway learns it
//! itself, from the hosts of the same rule, by requests that the rules allow, count and record like
//! any other. Nothing an answer says is passed on or acted on but the time.

mod learn;
mod wire;

use std::sync::{Arc, OnceLock};

use hyper::{Response, ext::ReasonPhrase};

use self::learn::{Asking, Learned, Unknown};
use crate::{
    egress::{
        context::Context,
        explain::{self, Refusal},
    },
    policy::{RequestPermit, Target},
    vetting::{self, Database, Published, Verdict},
};

/// The longest status line that is sent, in bytes.
const PHRASE: usize = 160;

/// What vetting keeps for all gateways of a process.
#[derive(Debug, Default)]
pub(in crate::egress) struct Kept {
    /// The advisories of this machine, once they were given.
    pub(in crate::egress) advisories: OnceLock<Arc<Database>>,
    learned: Learned,
}

/// Vets what comes over one connection of a client.
#[derive(Default)]
pub(super) struct Vetter {
    asking: Asking,
}

/// A request that is not passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Vetoed {
    /// For what is asked.
    Refused(Box<vetting::Refusal>),
    /// The registry could not be asked what has to be known.
    Unlearned(String),
}

impl Vetter {
    /// Lets a request for packages pass, or says why not. What is no registry's passes.
    pub(super) async fn admit(
        &self,
        context: &Arc<Context>,
        (target, request): (&Target, &RequestPermit),
    ) -> Result<(), Vetoed> {
        let Some(rule) = request.registry() else {
            return Ok(());
        };
        let asked = vetting::asked(rule, target, request.path());
        let database = context.shared.vetting.advisories.get();
        let (package, age) = match vetting::judge(rule, asked, database.map(Arc::as_ref)) {
            Verdict::Fine => return Ok(()),
            Verdict::Refused(refusal) => return Err(Vetoed::Refused(refusal)),
            Verdict::Aged(package, age) => (package, age),
        };
        let place = format!("{}{}", target.name, request.path());
        let learned = self.asking.learn(context, rule, (&package, &place)).await;
        let published = match learned {
            Ok(published) => published,
            Err(Unknown::Silent) => Arc::new(Published::default()),
            Err(Unknown::Failed(why)) => {
                let package = package.shown();
                let reason = format!(
                    "`{package}` is refused: its rule wants to know when it came out, and {why}"
                );
                return Err(Vetoed::Unlearned(reason));
            }
        };
        let known = (published.as_ref(), jiff::Timestamp::now());
        vetting::judge_age((&package, age), &place, known).map_err(Vetoed::Refused)
    }
}

impl Vetoed {
    /// Returns why, in one sentence.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.reason,
            Self::Unlearned(reason) => reason,
        }
    }

    /// Writes the answer: that of any denial, with what to do next, and with `error`, which is what
    /// npm shows of one.
    pub(super) fn told(&self, refusal: &Refusal<'_>) -> String {
        let next = match self {
            Self::Refused(refused) => refused.next.clone(),
            Self::Unlearned(_) => "try again later".to_owned(),
        };
        explain::vetoed(refusal, next)
    }

    /// Puts the reason into the status line, which is what pip shows of an answer.
    pub(super) fn head<B>(&self, response: &mut Response<B>) {
        let short = match self {
            Self::Refused(refusal) => &refusal.short,
            Self::Unlearned(_) => return,
        };
        let shown = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let words: Vec<u8> = short.bytes().filter(shown).take(PHRASE).collect();
        let phrase = [b"Forbidden: ".as_slice(), &words].concat();
        if let Ok(phrase) = ReasonPhrase::try_from(phrase) {
            response.extensions_mut().insert(phrase);
        }
    }
}
