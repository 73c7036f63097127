//! Other proxies, when they are installed; the benchmark needs none of them.
//!
//! | proxy | where it is looked for | else |
//! |---|---|---|
//! | squid, built with OpenSSL | `LOKI_BENCH_SQUID`, the root of an unpacked package | `/` |
//! | mitmproxy | `LOKI_BENCH_MITMDUMP`, the program | `mitmdump` |
//! | sandbox-runtime | `LOKI_BENCH_SRT`, the package's folder | not measured |

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    server::Server,
    sides::{Side, free},
};

/// What others are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tunnels,
    Inspect,
}

/// A folder of our own, and the file of the server's authority in it.
type Place<'a> = (&'a Path, &'a Path);

/// Starts each; or says which is missing, and why.
pub fn all(server: &Server, place: Place<'_>, kind: Kind) -> Vec<Result<Side, String>> {
    [squid, mitmproxy, sandbox_runtime]
        .map(|start| start(server, place, kind))
        .into()
}

fn squid(server: &Server, (folder, ca): Place<'_>, kind: Kind) -> Result<Side, String> {
    let root = PathBuf::from(env::var("LOKI_BENCH_SQUID").unwrap_or("/".to_owned()));
    let folder = folder.join("squid");
    let at = free();
    fs::create_dir_all(&folder).map_err(|error| format!("squid: {error}"))?;
    own_authority(&folder);
    let library = root.join("usr/lib/x86_64-linux-gnu");
    let listen = match kind {
        Kind::Tunnels => format!("http_port {at}\n"),
        Kind::Inspect => {
            certificates(&folder, &root, &library)?;
            bumping((at, ca), &folder, &root)
        }
    };
    let text = format!(
        "{listen}acl SSL_ports port 1-65535\nhttp_access allow all\ncache deny all\ncache_mem 8 MB\n\
         access_log none\ncache_log {0}/cache.log\npid_filename {0}/pid\ncoredump_dir {0}\n\
         mime_table {1}/usr/share/squid/mime.conf\nicon_directory {1}/usr/share/squid/icons\n\
         error_directory {1}/usr/share/squid/errors/en\nunlinkd_program {1}/usr/lib/squid/unlinkd\n\
         pinger_enable off\nshutdown_lifetime 0 seconds\nvia off\nforwarded_for delete\n",
        folder.display(),
        root.display(),
    );
    let settings = folder.join("squid.conf");
    fs::write(&settings, text).unwrap();
    // Started by root it becomes another user, who writes here.
    let all = Command::new("chmod")
        .args(["-R", "a+rwX"])
        .arg(&folder)
        .status();
    all.map_err(|error| format!("squid: chmod: {error}"))?;
    let mut command = Command::new(root.join("usr/sbin/squid"));
    command.args(["-N", "-f"]).arg(settings);
    command
        .env("LD_LIBRARY_PATH", library)
        .stderr(Stdio::null());
    let authority = (kind == Kind::Inspect).then(|| folder.join("authority.pem"));
    Side::proxy("squid", (server, at), (command, authority))
}

/// Writes an authority of squid's own, with its key and without.
fn own_authority(folder: &Path) {
    let own = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let name = rcgen::DnType::CommonName;
    params.distinguished_name.push(name, "authority of squid");
    let made = params.self_signed(&own).unwrap();
    let pem = format!("{}{}", made.pem(), own.serialize_pem());
    fs::write(folder.join("own.pem"), pem).unwrap();
    fs::write(folder.join("authority.pem"), made.pem()).unwrap();
}

/// Makes squid's store of certificates.
fn certificates(folder: &Path, root: &Path, library: &Path) -> Result<(), String> {
    let generator = root.join(GENERATOR);
    let made = Command::new(&generator)
        .args(["-c", "-s"])
        .arg(folder.join("certificates"))
        .args(["-M", "4MB"])
        .env("LD_LIBRARY_PATH", library)
        .stdout(Stdio::null())
        .status();
    made.map_err(|error| format!("squid: {}: {error}", generator.display()))?;
    Ok(())
}

const GENERATOR: &str = "usr/lib/squid/security_file_certgen";

/// What makes squid end TLS.
fn bumping((at, ca): (SocketAddr, &Path), folder: &Path, root: &Path) -> String {
    format!(
        "http_port {at} ssl-bump tls-cert={0}/own.pem generate-host-certificates=on \
         dynamic_cert_mem_cache_size=4MB\n\
         sslcrtd_program {1}/{GENERATOR} -s {0}/certificates -M 4MB\nsslcrtd_children 1\n\
         acl first at_step SslBump1\nssl_bump peek first\nssl_bump bump all\n\
         tls_outgoing_options cafile={2}\n",
        folder.display(),
        root.display(),
        ca.display()
    )
}

fn mitmproxy(server: &Server, (folder, ca): Place<'_>, kind: Kind) -> Result<Side, String> {
    let program = env::var("LOKI_BENCH_MITMDUMP").unwrap_or("mitmdump".to_owned());
    let at = free();
    let folder = folder.join("mitmproxy");
    let mut command = Command::new(program);
    command
        .args(["-q", "--listen-host", "127.0.0.1", "--listen-port"])
        .arg(at.port().to_string())
        .arg("--set")
        .arg(format!("confdir={}", folder.display()))
        .arg("--set")
        .arg(format!("ssl_verify_upstream_trusted_ca={}", ca.display()))
        .args(["--set", "stream_large_bodies=1m"]);
    if kind == Kind::Tunnels {
        command.args(["--ignore-hosts", ".*"]);
    }
    let authority = (kind == Kind::Inspect).then(|| folder.join("mitmproxy-ca-cert.pem"));
    Side::proxy("mitmproxy", (server, at), (command, authority))
}

/// Its own forward proxy, without the sandbox around it: as it stands on the host.
const SRT: &str = r"
import { pathToFileURL } from 'node:url'
import { readFileSync, writeFileSync } from 'node:fs'
const [folder, port, ca, authority] = process.argv.slice(1)
const load = name => import(pathToFileURL(`${folder}/dist/sandbox/${name}.js`))
const { createHttpProxyServer } = await load('http-proxy')
const options = { filter: (_port, host) => host === 'localhost' }
if (authority) {
  const { createMitmCA } = await load('mitm-ca')
  options.mitmCA = createMitmCA({})
  options.tlsTerminateUpstreamCA = readFileSync(ca)
  writeFileSync(authority, options.mitmCA.certPem)
}
createHttpProxyServer(options).listen(Number(port), '127.0.0.1')
";

fn sandbox_runtime(server: &Server, (folder, ca): Place<'_>, kind: Kind) -> Result<Side, String> {
    let package = env::var("LOKI_BENCH_SRT");
    let package = package.map_err(|_| "sandbox-runtime: `LOKI_BENCH_SRT` is not set".to_owned())?;
    let at = free();
    let authority = (kind == Kind::Inspect).then(|| folder.join("srt.pem"));
    let mut command = Command::new("node");
    command.args(["--input-type=module", "-e", SRT, "--", &package]);
    command.arg(at.port().to_string()).arg(ca).args(&authority);
    Side::proxy("sandbox-runtime", (server, at), (command, authority))
}
