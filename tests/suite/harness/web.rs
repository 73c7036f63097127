//! Web servers of the suite on loopback, in the host's own Python: pages, events, a WebSocket, git's
//! own server and package registries.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::{Running, World, source::read};

const SOON: Duration = Duration::from_secs(60);

/// A server that ends with the test; what it serves lies in `web/` of its world, outside of the
/// repository.
pub(crate) struct Web {
    running: Running,
    /// Where it listens, `127.0.0.1:PORT`.
    pub(crate) at: String,
}

impl Web {
    /// Starts a server that speaks TLS under these names, and HTTP in the clear under any.
    pub(crate) fn start(world: &World, names: &[&str]) -> Self {
        let (authority, own) = certificates(names);
        world.write("../web/authority.pem", authority);
        world.write("../web/own.pem", own);
        let server = read("tests/suite/harness/probes/web.py");
        let mut running = world.start("python3", &["-c", &server, "../web", "../web/own.pem"]);
        running.wait_until(SOON, |said| said.stdout.contains('\n'));
        let said = running.so_far().stdout;
        let port = said
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("PORT "));
        let at = format!("127.0.0.1:{}", port.expect("it says its port first"));
        Self { running, at }
    }

    /// Returns what was asked so far: scheme, method, host, path, and what it carried of credentials.
    pub(crate) fn heard(&self) -> Vec<String> {
        let said = self.running.so_far().stdout;
        let heard = said.lines().filter_map(|line| line.strip_prefix("HEARD "));
        heard.map(str::to_owned).collect()
    }
}

/// Returns the certificate of an authority of the test's own, and one that it vouches for with its
/// key.
fn certificates(names: &[&str]) -> (String, String) {
    let mut authority = CertificateParams::default();
    // Of another name than what it vouches for, which else looks signed by itself.
    let name = "The suite's authority";
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let leaf = CertificateParams::new(names).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    (authority.pem(), leaf.pem() + &key.serialize_pem())
}

/// Puts a repository `team/app` and registries with one package each where a server finds them.
pub(crate) fn furnish(world: &World) {
    world.write("../web/app/words.txt", "words of the repository\n");
    let script = "git init -q -b main app && cd app && git add -A && git commit -q -m first && git branch other && cd .. &&
        mkdir -p git/team && for name in app hidden; do git clone -q --bare app git/team/$name; done";
    let run = |program: &str, words: &[&str]| {
        let words = [&["-C", "../web", program], words].concat();
        drop(world.start("env", &words).wait(SOON).exits(0));
    };
    run("sh", &["-ec", script]);
    let packages = read("tests/suite/harness/probes/packages.py");
    run("python3", &["-c", &packages, "."]);
}
