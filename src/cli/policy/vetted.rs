//! What vetting says to a request that the rules allow, for `loki policy explain`.

use crate::{
    policy::{Act, Request, RequestPermit, Rights, Target, decide, decide_request},
    vetting::{self, Verdict},
};

use super::{
    super::{advisories, env::Environment, exit::Fault},
    told::Told,
};

/// Takes an answer back that vetting would not give, by what the gateway asks too.
pub(super) fn vet(env: &Environment, rights: &Rights, told: &mut Told) -> Result<(), Fault> {
    let Some((target, permit)) = permitted(rights, told) else {
        return Ok(());
    };
    let Some(rule) = permit.registry() else {
        return Ok(());
    };
    let database = advisories::for_roles(env, &[rights])?;
    let asked = vetting::asked(rule, &target, permit.path());
    match vetting::judge(rule, asked, database.as_ref()) {
        Verdict::Fine => {}
        Verdict::Refused(refusal) => {
            told.allowed = false;
            told.reason = refusal.reason;
            "the gateway answers it itself, with this reason".clone_into(&mut told.kernel);
        }
        Verdict::Aged(package, age) => {
            let days = age.as_secs_f64() / 86_400.0;
            told.reason = format!(
                "{}, if the registry says that `{}` came out at least {days:.1} days ago",
                told.reason,
                package.shown()
            );
        }
    }
    Ok(())
}

fn permitted(rights: &Rights, told: &Told) -> Option<(Target, RequestPermit)> {
    if told.question != "request" || !told.allowed {
        return None;
    }
    let Ok(Act::Request(asked)) = format!("request {}", told.asked).parse() else {
        return None;
    };
    let permit = decide(&rights.egress, &asked.target).ok()?;
    let request = Request::new(&asked.method, &asked.path, None);
    let request = decide_request(&rights.egress, &permit, &request).ok()?;
    Some((asked.target, request))
}
