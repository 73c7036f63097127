//! What commands print and how often they run, with a clock of the test's own.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use tempfile::TempDir;
use tokio::{runtime::Builder, task::JoinHandle};

use super::*;

const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Tokens on a host whose time the test sets, with a directory that scripts count their runs in.
struct Lab {
    tokens: Tokens,
    time: Arc<AtomicU64>,
    place: TempDir,
}

impl Lab {
    fn new() -> Self {
        let time = Arc::new(AtomicU64::new(NOW));
        let (tokens, told) = (Tokens::default(), Arc::clone(&time));
        tokens.run_with(Commands {
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            clock: Arc::new(move || at(told.load(Ordering::SeqCst))),
        });
        Self {
            tokens,
            time,
            place: TempDir::new().unwrap(),
        }
    }

    fn pass(&self, seconds: u64) {
        self.time.fetch_add(seconds, Ordering::SeqCst);
    }

    fn marks(&self) -> PathBuf {
        self.place.path().join("runs")
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.marks()).map_or(0, |text| text.lines().count())
    }

    /// A command that counts its run, then does what `script` says; `$n` is the number of the run.
    fn command(&self, script: &str) -> Vec<String> {
        let marks = self.marks();
        let counting = format!(
            "echo run >> {0}; n=$(wc -l < {0}); {script}",
            marks.display()
        );
        ["/bin/sh", "-c", &counting].map(str::to_owned).to_vec()
    }

    async fn ask(&self, command: &[String]) -> Result<String, NoToken> {
        let said = self.tokens.of(command, |task| drop(spawned(task))).await;
        said.map(|token| token.to_string())
    }
}

fn spawned(task: Task) -> JoinHandle<()> {
    tokio::runtime::Handle::current().spawn(task)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(test)
}

#[test]
fn a_token_is_read_bare_or_with_its_end() {
    let read = |text: &str| {
        let read = output::read(text.as_bytes(), at(NOW));
        read.map(|(token, counts)| (token.to_string(), counts.as_secs()))
    };
    let token = || "token-0001".to_owned();
    assert_eq!(read("token-0001\n"), Ok((token(), 300)));
    assert_eq!(read("{\"token\":\"token-0001\"}"), Ok((token(), 300)));
    let json = " {\"token\":\"token-0001\",\"expires_in\":3600,\"scope\":[]}\n";
    assert_eq!(read(json), Ok((token(), 3570)));
    // 1 800 000 000 s is 2027-01-15T08:00:00Z.
    let json = "{\"token\":\"token-0001\",\"expires\":\"2027-01-15T08:01:40Z\"}";
    assert_eq!(read(json), Ok((token(), 90)));
    let json = "{\"token\":\"token-0001\",\"expires\":\"2027-01-15T09:01:40+01:00\"}";
    assert_eq!(read(json), Ok((token(), 90)));
    let forever = format!("{{\"token\":\"token-0001\",\"expires_in\":{}}}", u64::MAX);
    assert!(read(&forever).is_ok());
}

#[test]
fn what_is_no_token_is_refused_and_not_repeated() {
    let long = "x".repeat(8193);
    let unfit = [
        "",
        "\n \n",
        "short",
        &long,
        "two words-hush",
        "line-one-hush\nline-two-hush",
        "hush-\u{7f}-hush",
        "tokén-hush-hush",
        "hush-hush\r\nx: y",
        "{\"token\": 12345678}",
        "{\"token\": \"hush-hush\"",
        "{\"access_token\": \"hush-hush\"}",
        "{\"token\": \"hush hush\"}",
        "{\"token\": \"hush-hush\", \"expires\": \"hush\"}",
        "{\"token\": \"hush-hush\", \"expires\": \"2027-01-15T08:00:00Z\"}",
        "{\"token\": \"hush-hush\", \"expires_in\": 0}",
        "{\"token\": \"hush-hush\", \"expires_in\": -1}",
        "{\"token\": \"hush-hush\", \"expires_in\": 5, \"expires\": \"2027-01-15T09:00:00Z\"}",
    ];
    for text in unfit {
        let none = output::read(text.as_bytes(), at(NOW)).unwrap_err();
        assert!(!none.to_string().contains("hush"), "{text}: {none}");
    }
    assert!(output::read(b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff", at(NOW)).is_err());
}

#[test]
fn a_command_runs_again_only_once_its_token_ran_out() {
    let lab = Lab::new();
    let command =
        lab.command("echo \"{\\\"token\\\":\\\"token-000$n\\\",\\\"expires_in\\\":100}\"");
    run(async {
        let asked = |_| lab.ask(&command);
        let all = futures_util::future::join_all((0..8).map(asked)).await;
        let first = Ok("token-0001".to_owned());
        assert!(all.iter().all(|said| *said == first), "{all:?}");
        lab.pass(89);
        assert_eq!(lab.ask(&command).await, first);
        assert_eq!(lab.runs(), 1, "asked at once, and again");
        lab.pass(1);
        assert_eq!(lab.ask(&command).await, Ok("token-0002".to_owned()));
    });
    assert_eq!(lab.runs(), 2);
}

#[test]
fn a_failure_counts_for_a_while_and_says_why_without_the_output() {
    let lab = Lab::new();
    let command = lab.command("echo hush-hush; echo first >&2; echo 'no: hush-hush' >&2; exit 3");
    run(async {
        let failed = lab.ask(&command).await.unwrap_err();
        assert_eq!(failed.to_string(), "its command ended with exit code 3");
        assert_eq!(failed.aside(), Some("no: ***"));
        lab.pass(9);
        assert_eq!(lab.ask(&command).await, Err(failed));
        assert_eq!(lab.runs(), 1);
        lab.pass(1);
        assert!(lab.ask(&command).await.is_err());
    });
    assert_eq!(lab.runs(), 2);
}

#[test]
fn who_goes_away_does_not_end_a_run_and_starts_no_other() {
    let lab = Lab::new();
    let gate = lab.place.path().join("gate");
    let wait = format!(
        "until [ -e {} ]; do sleep 0.02; done; echo token-0001",
        gate.display()
    );
    let command = lab.command(&wait);
    run(async {
        let gone = tokio::time::timeout(Duration::from_millis(200), lab.ask(&command)).await;
        assert!(gone.is_err());
        fs::File::create(&gate).unwrap();
        assert_eq!(lab.ask(&command).await, Ok("token-0001".to_owned()));
    });
    assert_eq!(lab.runs(), 1);
}

#[test]
fn a_token_that_a_server_refused_is_asked_for_anew_but_not_at_each_request() {
    let lab = Lab::new();
    let command = lab.command("echo token-000$n");
    run(async {
        assert_eq!(lab.ask(&command).await, Ok("token-0001".to_owned()));
        lab.tokens.refused(&command, "token-0001");
        assert_eq!(lab.ask(&command).await, Ok("token-0001".to_owned()), "new");
        lab.pass(10);
        lab.tokens.refused(&command, "token-0000");
        assert_eq!(
            lab.ask(&command).await,
            Ok("token-0001".to_owned()),
            "other"
        );
        lab.tokens.refused(&command, "token-0001");
        assert_eq!(lab.ask(&command).await, Ok("token-0002".to_owned()));
        lab.tokens.refused(&command, "token-0002");
        assert_eq!(lab.ask(&command).await, Ok("token-0002".to_owned()), "new");
    });
}

#[test]
fn a_command_gets_no_input_no_shell_and_few_variables() {
    let lab = Lab::new();
    let script = "cat; [ \"$(pwd)\" = / ] && [ -z \"$CARGO_HOME$HOME\" ] && echo token-0001";
    run(async {
        let said = lab.ask(&lab.command(script)).await;
        assert_eq!(said, Ok("token-0001".to_owned()));
        let words = ["/bin/echo", "$(id);`id`"].map(str::to_owned);
        assert_eq!(lab.ask(&words).await, Ok("$(id);`id`".to_owned()));
        let missing = ["/no/such/program".to_owned()];
        let none = lab.ask(&missing).await.unwrap_err();
        assert!(matches!(none, NoToken::Unstarted(_)), "{none}");
        let endless = ["/bin/cat", "/dev/zero"].map(str::to_owned);
        assert_eq!(lab.ask(&endless).await, Err(NoToken::Long));
    });
}

#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_started() {
    let lab = Lab::new();
    let child = lab.place.path().join("child");
    let script = format!("sleep 600 & echo $! > {}; echo token-0001", child.display());
    run(async {
        assert_eq!(lab.ask(&lab.command(&script)).await, Err(NoToken::Late));
    });
    let pid = fs::read_to_string(child).unwrap();
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let runs = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    for _ in 0..500 {
        if !runs() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("`sleep {}` runs on", pid.trim());
}

#[test]
fn without_a_host_nothing_runs() {
    let tokens = Tokens::default();
    let said = run(tokens.of(&["/bin/true".to_owned()], |task| drop(spawned(task))));
    assert_eq!(said, Err(NoToken::Nobody));
}
