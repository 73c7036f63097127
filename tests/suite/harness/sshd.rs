//! The real sshd on loopback, for git over SSH: one process a connection, as a super-server would
//! start it, so that no port is guessed and nothing is left running.

use std::{
    fs,
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::World;

const SOON: Duration = Duration::from_secs(60);

/// Where it listens, and who may come.
pub(crate) struct Sshd {
    /// `127.0.0.1:PORT`.
    pub(crate) at: String,
    /// The user's name.
    pub(crate) user: String,
    /// A private key that is let in.
    pub(crate) key: String,
    /// What its own key is, for `known_hosts`, without a name.
    pub(crate) known: String,
}

/// Returns the program: installed, or laid out by `make test` without its service.
fn program() -> PathBuf {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sshd/usr/sbin/sshd");
    let found = [PathBuf::from("/usr/sbin/sshd"), own];
    let found = found.into_iter().find(|path| path.is_file());
    found.expect("there is no sshd: run `make test`, which fetches it")
}

impl Sshd {
    /// Starts to listen; whoever has the key may use git's repositories below `web/git` of the world.
    pub(crate) fn start(world: &World) -> Self {
        let folder = world.path("../ssh");
        fs::create_dir_all(&folder).unwrap();
        let folder = folder.canonicalize().unwrap();
        for name in ["host", "user"] {
            let file = format!("../ssh/{name}");
            let words = ["-q", "-t", "ed25519", "-N", "", "-f", &file];
            drop(world.start("ssh-keygen", &words).wait(SOON).exits(0));
        }
        let is_root = rustix::process::geteuid().is_root();
        let own = std::env::var("USER").unwrap_or_default();
        let user = if is_root { "git".to_owned() } else { own };
        write(&folder, &user);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let (key, known) = (text("user"), text("host.pub"));
        // Ends with the test process: nothing else can tell a blocked accept to stop.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut command = command(&folder);
                let back = OwnedFd::from(stream.try_clone().unwrap());
                command.stdin(OwnedFd::from(stream)).stdout(back);
                let mut child = command.spawn().expect("sshd starts");
                thread::spawn(move || child.wait());
            }
        });
        Self {
            at,
            user,
            key,
            known,
        }
    }
}

fn write(folder: &Path, user: &str) {
    let root = folder.parent().expect("it lies in a world").join("web/git");
    let here = folder.display();
    let config = format!(
        "HostKey {here}/host\nAuthorizedKeysFile {here}/user.pub\nStrictModes no\nUsePAM no\nPidFile none\n\
         PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         ForceCommand cd {} && exec git-shell -c \"$SSH_ORIGINAL_COMMAND\"\n",
        root.display()
    );
    fs::write(folder.join("config"), config).unwrap();
    let passwd = format!(
        "root:x:0:0::/:/bin/sh\nsshd:x:65534:65534::/:/bin/false\n{user}:x:0:0::{here}:/bin/sh\n"
    );
    fs::write(folder.join("passwd"), passwd).unwrap();
}

/// Started by root it wants a user and a directory of its own, which it is given out of this host's
/// sight.
fn command(folder: &Path) -> Command {
    let script = "if [ \"$(id -u)\" = 0 ]; then
            mount --bind \"$1/passwd\" /etc/passwd; mount -t tmpfs tmpfs /run; mkdir -m 755 /run/sshd
        fi
        exec \"$2\" -i -e -f \"$1/config\"";
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    let program = program();
    let libraries = program
        .ancestors()
        .nth(3)
        .expect("it lies below usr")
        .join("usr/lib");
    let libraries = fs::read_dir(libraries).into_iter().flatten().flatten();
    let libraries: Vec<String> = libraries
        .map(|entry| entry.path().display().to_string())
        .collect();
    command
        .args(["-ec", script, "sh"])
        .arg(folder)
        .arg(&program);
    if !program.starts_with("/usr/sbin") {
        command.env("LD_LIBRARY_PATH", libraries.join(":"));
    }
    let log = fs::File::options()
        .append(true)
        .create(true)
        .open(folder.join("log"));
    command.stderr(log.map(Stdio::from).unwrap());
    command
}
