//! Probes that pass a cap on purpose: each in a sandbox of its own, small enough that this machine
//! does not notice, which must be ended for exactly that cap while others go on.

use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::{
    diagnostic::explained,
    event::{HeldBy, Isolation, Limit, Overrun},
    link::Process,
    policy::Resources,
    sandbox::{Sandbox, Spoken},
};

use super::{
    probe::{Output, Place, Probe},
    stage::{OUTPUT, PATIENCE, Stage, start},
};

/// What another sandbox says that goes on.
const LIVES: &str = "OTHERS LIVE";

/// The caps of such a sandbox; the programs of its probes know them.
pub(super) fn caps(role: &Resources) -> Resources {
    Resources {
        cpus: role.cpus.min(1.0),
        memory: 96 << 20,
        pids: 48,
        disk: 16 << 20,
        ..role.clone()
    }
}

/// A word for the sandbox of a cap.
pub(super) fn word(cap: Limit) -> &'static str {
    match cap {
        Limit::Processes => "caged-processes",
        Limit::Memory => "caged-memory",
        Limit::Disk => "caged-disk",
        _ => "caged",
    }
}

impl Stage {
    /// Says why a probe cannot be asked of this machine; none as a rule.
    pub(super) fn spares(&self, probe: &Probe) -> Option<&'static str> {
        let memory = probe.place == Place::Caged(Limit::Memory);
        let held = self.isolation().held.memory.is_some();
        (memory && !held).then_some(
            "memory is not held on this engine, which the policy accepts (`cgroup: none`), see docs/engines.md",
        )
    }

    /// Runs a probe in a sandbox of its own until it ends or passes a cap, and looks whether another
    /// one lives.
    pub(super) async fn caged(&self, probe: &Probe, cap: Limit) -> Result<Output, String> {
        let standing = self.scene.stand(probe.place).await;
        let standing = standing.map_err(|fault| explained(&fault))?;
        let sandbox = standing.sandbox;
        let ran = outgrow(&sandbox, probe).await;
        let ended = sandbox.end().await;
        let (mut output, over) = ran?;
        ended.map_err(|fault| explained(&fault))?;
        let complaint = output.stderr.lines().last().unwrap_or_default();
        check(over, cap, self.isolation()).map_err(|why| format!("{why} {complaint}"))?;
        let other = start(&self.own.sandbox, &format!("print('{LIVES}')"), &[]).await?;
        output.stdout += &timeout(PATIENCE, read(other))
            .await
            .unwrap_or_default()
            .stdout;
        Ok(output)
    }
}

async fn outgrow(sandbox: &Sandbox, probe: &Probe) -> Result<(Output, Option<Overrun>), String> {
    let process = start(sandbox, probe.program, &[]).await?;
    let spoken = Spoken::default();
    let mut reading = Box::pin(timeout(PATIENCE, read(process)));
    let (over, read) = tokio::select! {
        over = sandbox.overrun(&spoken) => {
            sandbox.kill().await;
            (Some(over), reading.await)
        }
        read = &mut reading => (sandbox.overrun_at_end().await, read),
    };
    let output = read.map_err(|_| "the probe did not come to its end".to_owned())?;
    Ok((output, over))
}

/// Reads what a program says until nobody can say more, however it ends.
async fn read(process: Process) -> Output {
    let (streams, ended) = process.split();
    drop(streams.stdin);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut out, mut err) = (streams.stdout.take(OUTPUT), streams.stderr.take(OUTPUT));
    let both = tokio::join!(out.read_to_end(&mut stdout), err.read_to_end(&mut stderr));
    // A killed sandbox has no exit code to tell, and what it said before counts.
    drop((both, ended.wait().await));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output {
        stdout: text(&stdout),
        stderr: text(&stderr),
        hits: 0,
    }
}

/// The sandbox must have been ended for this cap. Where the kernel holds a cap but nobody sees it
/// being passed, that nothing passed is all there is.
fn check(over: Option<Overrun>, cap: Limit, isolation: &Isolation) -> Result<(), String> {
    let unseen = isolation.unwatched.contains(&cap)
        || cap == Limit::Processes && isolation.held.by == HeldBy::Rlimit;
    match over {
        Some(over) if over.limit == cap => Ok(()),
        None if unseen => Ok(()),
        Some(over) => Err(format!("the sandbox was ended for something else: {over}")),
        None => Err("the sandbox was not ended".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cap_that_was_meant_counts_and_only_an_unseen_one_may_be_missed() {
        let over = |limit| {
            let (allowed, seen) = (1, 2);
            Some(Overrun {
                limit,
                allowed,
                seen,
            })
        };
        let held = Isolation::default();
        assert!(check(over(Limit::Disk), Limit::Disk, &held).is_ok());
        assert!(check(over(Limit::Time), Limit::Disk, &held).is_err());
        assert!(check(None, Limit::Processes, &held).is_err());
        let mut rlimit = Isolation::default();
        rlimit.held.by = HeldBy::Rlimit;
        assert!(check(None, Limit::Processes, &rlimit).is_ok());
        assert!(check(None, Limit::Disk, &rlimit).is_err());
    }
}
