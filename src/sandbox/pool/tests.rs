//! The pool on an engine that is strict, in memory, and plays the guests itself: real sockets, files
//! and git, no container.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use futures_util::FutureExt;
use loki_guest::{Reply, Request, VERSION, decode_request, encode_reply, receive, send};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::*;
use crate::{
    egress::{SystemResolver, Threads},
    engine::{
        Answer, Cgroup, ContainerId, ContainerSpec, ContainerState, Context, Engine, EngineError,
        EngineReport, Image, Import, Listed, Opened, OpenedContainer, Progress, Said,
    },
    policy::{Glob, Origin},
    sandbox::{memory::Memory, repository_label, sample},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A container: what it was asked to be, and the guest's end of its link once it runs.
struct Container {
    spec: ContainerSpec,
    guest: Option<Arc<OwnedFd>>,
}

/// An engine in memory. It has no images, and only ever removes what it made.
struct Fake {
    report: EngineReport,
    containers: Mutex<BTreeMap<String, Container>>,
    made: AtomicU32,
    calls: Mutex<Vec<&'static str>>,
    broken: AtomicBool,
    /// Held by a test: no container starts meanwhile.
    starting: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    fn new() -> Arc<Self> {
        let word = || "fake".to_owned();
        let report = EngineReport {
            name: "docker",
            version: word(),
            api_version: word(),
            rootless: false,
            remapped: false,
            cgroup: Cgroup::V1,
            runtime: word(),
            runtime_version: word(),
            components: BTreeMap::new(),
            seccomp: "default".to_owned(),
            selinux: false,
            storage: word(),
            endpoint: word(),
            limits: true,
            tmpfs_inodes: true,
        };
        Arc::new(Self {
            report,
            containers: Mutex::default(),
            made: AtomicU32::new(0),
            calls: Mutex::default(),
            broken: AtomicBool::new(false),
            starting: tokio::sync::Mutex::default(),
        })
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Container>> {
        self.containers.lock().unwrap()
    }

    fn called(&self, call: &'static str) -> Result<(), EngineError> {
        self.calls.lock().unwrap().push(call);
        if self.broken.load(Ordering::Relaxed) {
            return Err(absent("engine"));
        }
        Ok(())
    }

    fn labels(&self) -> Vec<BTreeMap<String, String>> {
        self.all()
            .values()
            .map(|one| one.spec.labels.clone())
            .collect()
    }

    /// Ends the guest of some container, as a person's `kill` does.
    fn kill_one(&self) {
        let mut all = self.all();
        let guest = all.values_mut().find_map(|one| one.guest.take()).unwrap();
        rustix::net::shutdown(&guest, rustix::net::Shutdown::Both).unwrap();
    }
}

fn absent(kind: &'static str) -> EngineError {
    EngineError::Absent {
        kind,
        name: "x".to_owned(),
    }
}

fn no<'a, T: Send + 'a>() -> Answer<'a, T> {
    async { Err(absent("call")) }.boxed()
}

/// Connects as the guest of a slot and answers what a guest is asked before anything runs.
fn play(directory: &Path) -> Arc<OwnedFd> {
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None).unwrap();
    connect(
        &socket,
        &SocketAddrUnix::new(directory.join("socket")).unwrap(),
    )
    .unwrap();
    let guest = Arc::new(socket);
    let (mine, say) = (Arc::clone(&guest), |guest: &OwnedFd, reply: Reply, fds| {
        send(guest.as_fd(), &encode_reply(&reply, fds).unwrap()).unwrap();
    });
    let hello = Reply::Hello {
        version: VERSION,
        landlock_abi: 6,
        write_meter: true,
    };
    say(&guest, hello, Vec::new());
    std::thread::spawn(move || {
        while let Ok(packet) = receive(mine.as_fd()) {
            match decode_request(&packet).unwrap() {
                Request::Dns { id } => {
                    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                    say(&mine, Reply::Bound { id }, vec![udp.into(), tcp.into()]);
                }
                Request::Prepare { paths, .. } => assert!(!paths.is_empty()),
                other => panic!("nothing may run in a slot without a role: {other:?}"),
            }
        }
    });
    guest
}

impl Engine for Fake {
    fn report(&self) -> &EngineReport {
        &self.report
    }

    fn image<'a>(&'a self, _: &'a str) -> Answer<'a, Option<Image>> {
        panic!("a launch looks no image up")
    }

    fn import<'a>(&'a self, _: Import<'a>, _: Progress<'a>) -> Answer<'a, Image> {
        no()
    }

    fn build<'a>(&'a self, _: &'a str, _: Context<'a>, _: Progress<'a>) -> Answer<'a, Image> {
        no()
    }

    fn pull<'a>(&'a self, _: &'a str, _: Progress<'a>) -> Answer<'a, Image> {
        no()
    }

    fn images<'a>(&'a self, _: &'a str) -> Answer<'a, Vec<Image>> {
        no()
    }

    fn remove_image<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        no()
    }

    fn create<'a>(&'a self, spec: &'a ContainerSpec) -> Answer<'a, ContainerId> {
        async move {
            self.called("create")?;
            let id = format!("c{}", self.made.fetch_add(1, Ordering::Relaxed));
            let mut all = self.all();
            let names: Vec<_> = all.values().map(|one| one.spec.name.clone()).collect();
            assert!(!names.contains(&spec.name), "{} is taken", spec.name);
            let container = Container {
                spec: spec.clone(),
                guest: None,
            };
            all.insert(id.clone(), container);
            Ok(ContainerId(id))
        }
        .boxed()
    }

    fn confirm<'a>(
        &'a self,
        id: &'a ContainerId,
        spec: &'a ContainerSpec,
    ) -> Answer<'a, ContainerState> {
        async move {
            self.called("inspect")?;
            let all = self.all();
            assert_eq!(all[id.as_str()].spec, *spec);
            Ok(ContainerState {
                pid: Some(std::process::id()),
                running: true,
                ..ContainerState::default()
            })
        }
        .boxed()
    }

    fn start<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move {
            drop(self.starting.lock().await);
            self.called("start")?;
            let mut all = self.all();
            let container = all.get_mut(id.as_str()).unwrap();
            let link = container
                .spec
                .mounts
                .iter()
                .find(|one| one.target == "/loki/link");
            container.guest = Some(play(&link.unwrap().source));
            Ok(())
        }
        .boxed()
    }

    fn inspect<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ContainerState> {
        async move {
            let known = self.all().contains_key(id.as_str());
            known
                .then(ContainerState::default)
                .ok_or_else(|| absent("container"))
        }
        .boxed()
    }

    fn kill<'a>(&'a self, _: &'a ContainerId) -> Answer<'a, ()> {
        no()
    }

    fn pause<'a>(&'a self, _: &'a ContainerId) -> Answer<'a, ()> {
        no()
    }

    fn resume<'a>(&'a self, _: &'a ContainerId) -> Answer<'a, ()> {
        no()
    }

    fn remove<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move {
            let gone = self.all().remove(id.as_str());
            let guest = gone.expect("it is removed once").guest;
            if let Some(guest) = guest {
                rustix::net::shutdown(&guest, rustix::net::Shutdown::Both).ok();
            }
            Ok(())
        }
        .boxed()
    }

    fn list<'a>(&'a self, _: &'a str) -> Answer<'a, Vec<Listed>> {
        no()
    }

    fn open<'a>(&'a self, _: &'a Opened) -> Answer<'a, OpenedContainer> {
        no()
    }

    fn run_opened<'a>(&'a self, _: &'a OpenedContainer, _: &'a [String]) -> Answer<'a, Said> {
        no()
    }
}

struct World {
    engine: Arc<Fake>,
    repository: Arc<Repository>,
    crowd: Crowd,
    dir: tempfile::TempDir,
}

fn now() -> Timestamp {
    Timestamp::now()
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "the user's own git, not Loki's")]
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repo");
        std::fs::create_dir(&root).unwrap();
        let who = ["-c", "user.name=U", "-c", "user.email=u@localhost"];
        for args in [
            &["init", "-q"][..],
            &["commit", "-q", "--allow-empty", "-m", "x"],
        ] {
            let mut git = std::process::Command::new("git");
            let ended = git.args(who).args(args).current_dir(&root).status();
            assert!(ended.unwrap().success());
        }
        let repository = Repository::open(&root).unwrap();
        repository
            .create_run_branch(&run(), repository.head())
            .unwrap();
        Self {
            engine: Fake::new(),
            repository: Arc::new(repository),
            crowd: Crowd::default(),
            dir,
        }
    }

    fn pool(&self, settings: AgentPool) -> Pool {
        self.pool_of(run(), settings)
    }

    /// The pool of one of several runs of a process.
    fn pool_of(&self, run: RunId, settings: AgentPool) -> Pool {
        let engine: Arc<dyn Engine> = Arc::clone(&self.engine) as _;
        let mut launcher = Launcher::new(
            engine,
            self.dir.path().join("cache"),
            Arc::new(Threads::start().unwrap()),
            Arc::new(SystemResolver::new().unwrap()),
        );
        launcher.crowd = self.crowd.clone();
        let root = self.repository.root();
        let grounds = Grounds {
            run,
            repository: Arc::clone(&self.repository),
            label: repository_label(root),
            state: root.join(".loki"),
            now,
        };
        Pool::new(launcher, grounds, settings)
    }

    /// Waits until so many containers stand and the pool has nothing under way.
    async fn settles(&self, pool: &Pool, idle: usize) -> Standing {
        let settled = async {
            loop {
                let standing = pool.standing();
                let count = |of: fn(&Shelf) -> u32| standing.kinds.iter().map(of).sum::<u32>();
                let (waiting, under_way) = (count(|one| one.idle), count(|one| one.preparing));
                if waiting as usize == idle && under_way == 0 && self.engine.all().len() == idle {
                    return standing;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let settled = tokio::time::timeout(PATIENCE, settled).await;
        settled.unwrap_or_else(|_| panic!("not {idle} idle: {:?}", pool.standing()))
    }

    /// Returns what stands where slots stand.
    fn slots(&self) -> Vec<String> {
        let run = self.repository.worktrees_dir().join("r1");
        let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
        entries
            .map(|one| one.file_name().into_string().unwrap())
            .collect()
    }
}

fn run() -> RunId {
    "r1".parse().unwrap()
}

fn settings(min_idle: u32, max_total: u32) -> AgentPool {
    AgentPool {
        min_idle,
        max_total,
        pre_warm_roles: None,
    }
}

fn want(role: &str, coming: u32) -> Want {
    Want {
        rights: sample::shipped(role).into(),
        image: "sha256:0".to_owned(),
        home: Vec::new(),
        contents: Contents::Empty,
        coming,
        open: coming,
    }
}

fn occupant(want: &Want) -> Occupant {
    Occupant {
        name: "loki-r1-task-1".to_owned(),
        labels: sample::labels(),
        ..want.occupant()
    }
}

fn globs(text: &str) -> Globs {
    Globs(vec![Glob::parse(text, Origin::default()).unwrap()])
}

#[tokio::test]
async fn as_many_stand_ready_as_are_coming_and_nothing_is_left() {
    let world = World::new();
    let pool = world.pool(settings(3, 20));
    pool.foresee(vec![want("eng-backend", 2)]);
    let standing = world.settles(&pool, 2).await;
    assert_eq!((standing.kinds[0].wanted, standing.failure), (2, None));
    assert_eq!(standing.kinds[0].roles, ["eng-backend".parse().unwrap()]);
    let mut slots = world.slots();
    slots.sort();
    assert_eq!(slots.len(), 2, "{slots:?}");
    // Whoever looks for what attempts left must not take one of these for it.
    assert!(
        slots
            .iter()
            .all(|name| name.starts_with("idle.") && !name.contains('-'))
    );
    for labels in world.engine.labels() {
        assert_eq!(
            (labels["loki.role"].as_str(), labels["loki.task"].as_str()),
            ("none", "idle")
        );
        assert_eq!(labels["loki.owner"], super::super::sweep::owner());
    }
    pool.foresee(vec![want("eng-backend", 5)]);
    world.settles(&pool, 3).await;
    pool.foresee(Vec::new());
    world.settles(&pool, 0).await;
    pool.foresee(vec![want("eng-backend", 1)]);
    world.settles(&pool, 1).await;
    pool.end().await;
    assert!(world.engine.all().is_empty());
    assert_eq!(world.slots(), Vec::<String>::new());
    let state = world.repository.root().join(".loki");
    assert_eq!(Standing::read(&state, |_| true).unwrap(), []);
    // Nothing is made any more.
    pool.foresee(vec![want("eng-backend", 2)]);
    let (claimed, _lease) = pool
        .claim(&occupant(&want("eng-backend", 1)), &Contents::Empty)
        .await;
    assert!(claimed.is_none());
}

#[tokio::test]
async fn a_launch_is_three_calls_and_a_claim_is_none() {
    let world = World::new();
    let pool = world.pool(settings(1, 20));
    pool.foresee(vec![want("eng-backend", 1)]);
    world.settles(&pool, 1).await;
    let calls = || world.engine.calls.lock().unwrap().clone();
    assert_eq!(calls(), ["create", "start", "inspect"]);
    let (claimed, _lease) = pool
        .claim(&occupant(&want("eng-backend", 1)), &Contents::Empty)
        .await;
    assert!(claimed.is_some());
    pool.foresee(Vec::new());
    assert_eq!(calls(), ["create", "start", "inspect"]);
    claimed.unwrap().prepared.end().await.unwrap();
    pool.end().await;
}

#[tokio::test]
async fn a_slot_is_given_once_and_only_to_the_very_same_container() {
    let world = World::new();
    let pool = world.pool(settings(1, 20));
    let mine = want("eng-backend", 1);
    pool.foresee(vec![mine.clone()]);
    world.settles(&pool, 1).await;
    let mut other = mine.clone();
    Arc::make_mut(&mut other.rights).resources.memory /= 2;
    let (none, lease) = pool.claim(&occupant(&other), &Contents::Empty).await;
    assert!(
        none.is_none(),
        "rights with less memory got a slot with more"
    );
    drop(lease);
    pool.foresee(vec![Want {
        coming: 0,
        ..mine.clone()
    }]);
    // What runs by another home's rights is another container.
    let (claimed, lease) = pool.claim(&occupant(&mine), &Contents::Empty).await;
    let claimed = claimed.expect("one was ready");
    let (again, second) = pool.claim(&occupant(&mine), &Contents::Empty).await;
    assert!(again.is_none(), "a slot was given twice");
    let standing = pool.standing();
    assert_eq!((standing.warm, standing.cold, standing.claimed), (1, 2, 2));
    // Binding looks once more, whoever asks.
    let launcher = &pool.stock.launcher;
    let others = occupant(&other);
    let bound = launcher.bind(claimed.prepared, &others, Arc::new(|_| {}));
    let refused = bound.await.err().expect("other rights were bound");
    assert!(
        matches!(refused, crate::sandbox::SandboxError::Misfit),
        "{refused}"
    );
    drop((lease, second));
    assert_eq!(pool.standing().claimed, 0);
    pool.end().await;
}

#[tokio::test]
async fn files_are_for_those_who_may_read_exactly_them() {
    let world = World::new();
    let pool = world.pool(settings(1, 20));
    let copy = Want {
        contents: Contents::Copy,
        ..want("check", 1)
    };
    pool.foresee(vec![copy.clone()]);
    world.settles(&pool, 1).await;
    for contents in [Contents::Task(globs("src/**")), Contents::Empty] {
        let (claimed, _lease) = pool.claim(&occupant(&copy), &contents).await;
        assert!(
            claimed.is_none(),
            "{contents:?} got files that are not for it"
        );
    }
    let (claimed, _lease) = pool.claim(&occupant(&copy), &Contents::Copy).await;
    let claimed = claimed.expect("one was ready");
    assert_eq!(claimed.ahead.unwrap().base(), world.repository.head());
    claimed.prepared.end().await.unwrap();
    // One without files is for anybody of the same container.
    let empty = want("check", 1);
    pool.foresee(vec![empty]);
    world.settles(&pool, 1).await;
    let (claimed, _lease) = pool
        .claim(&occupant(&copy), &Contents::Task(globs("src/**")))
        .await;
    claimed
        .expect("an empty one was ready")
        .prepared
        .end()
        .await
        .unwrap();
    pool.end().await;
}

#[tokio::test]
async fn a_slot_whose_guest_is_gone_is_replaced_and_never_given() {
    let world = World::new();
    let pool = world.pool(settings(1, 20));
    pool.foresee(vec![want("eng-backend", 1)]);
    world.settles(&pool, 1).await;
    let first = world.slots();
    world.engine.kill_one();
    let replaced = async {
        loop {
            world.settles(&pool, 1).await;
            if world.slots() != first && world.slots().len() == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, replaced)
        .await
        .expect("it was not replaced");
    pool.end().await;
    assert!(world.engine.all().is_empty());
}

#[tokio::test]
async fn claimed_ones_count_and_those_asked_to_be_none_switch_it_off() {
    let world = World::new();
    let pool = world.pool(settings(3, 4));
    let mine = want("eng-backend", 9);
    let claim = async || pool.claim(&occupant(&mine), &Contents::Empty).await.1;
    let leases = [claim().await, claim().await];
    pool.foresee(vec![mine.clone()]);
    world.settles(&pool, 2).await;
    drop(leases);
    world.settles(&pool, 3).await;
    pool.end().await;
    let off = world.pool(settings(0, 0));
    off.foresee(vec![mine]);
    assert!(!off.is_on() && off.standing().kinds.is_empty());
    off.end().await;
}

/// Waits until so many slots of a pool wait and none is being made.
async fn stands(pool: &Pool, idle: u32) {
    let sum = |of: fn(&Shelf) -> u32| pool.standing().kinds.iter().map(of).sum::<u32>();
    let settled = async {
        while (sum(|one| one.idle), sum(|one| one.preparing)) != (idle, 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let settled = tokio::time::timeout(PATIENCE, settled).await;
    settled.unwrap_or_else(|_| panic!("not {idle} idle: {:?}", pool.standing()));
}

#[tokio::test]
async fn what_stands_of_all_runs_counts_and_one_goes_on_where_another_gives_up() {
    let world = World::new();
    let one = world.pool(settings(3, 4));
    let two = world.pool_of("r2".parse().unwrap(), settings(3, 4));
    one.foresee(vec![want("eng-backend", 3)]);
    stands(&one, 3).await;
    two.foresee(vec![want("eng-backend", 3)]);
    stands(&two, 1).await;
    assert_eq!(world.engine.all().len(), 4);
    // A claim is never refused for that.
    let mine = occupant(&want("eng-backend", 1));
    let (claimed, lease) = two.claim(&mine, &Contents::Empty).await;
    let (none, cold) = two.claim(&mine, &Contents::Empty).await;
    assert!(none.is_none() && two.standing().claimed == 2);
    claimed.unwrap().prepared.end().await.unwrap();
    drop((lease, cold));
    stands(&two, 1).await;
    one.foresee(Vec::new());
    stands(&two, 3).await;
    one.foresee(vec![want("eng-backend", 1)]);
    stands(&one, 1).await;
    two.foresee(vec![want("eng-backend", 3), want("review-code", 3)]);
    // A run that is gone leaves nothing in the count.
    drop(one);
    stands(&two, 4).await;
    two.end().await;
}

#[tokio::test]
async fn none_is_made_ready_that_memory_has_no_room_for() {
    const GIB: u64 = 1 << 30;
    let mut world = World::new();
    let slots = Arc::new(AtomicU32::new(1));
    let free = Arc::clone(&slots);
    // A quarter of it is for those who work.
    world.crowd = Crowd::measured(move || {
        let slots = u64::from(free.load(Ordering::Relaxed));
        Some(Memory::of(4 * GIB, GIB + slots * (32 << 20)))
    });
    let one = world.pool(settings(3, 20));
    let two = world.pool_of("r2".parse().unwrap(), settings(3, 20));
    let hold = world.engine.starting.lock().await;
    one.foresee(vec![want("eng-backend", 3)]);
    // There is room for one, and that is under way.
    preparing(&one, 1).await;
    two.foresee(vec![want("eng-backend", 3)]);
    let asked = async {
        while two.standing().room != Some(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    preparing(&two, 0).await;
    slots.store(0, Ordering::Relaxed);
    drop(hold);
    stands(&one, 1).await;
    stands(&two, 0).await;
    assert_eq!(one.standing().room, Some(0));
    slots.store(9, Ordering::Relaxed);
    // Whatever happens has it looked at again.
    one.foresee(vec![want("eng-backend", 2)]);
    stands(&one, 2).await;
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn after_a_failure_it_is_tried_again_later_and_what_failed_is_told() {
    let world = World::new();
    let pool = world.pool(settings(1, 20));
    world.engine.broken.store(true, Ordering::Relaxed);
    pool.foresee(vec![want("eng-backend", 1)]);
    let told = async {
        loop {
            if let Some(failure) = pool.standing().failure.filter(|of| of.times >= 2) {
                return failure;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, told)
        .await
        .expect("no failure was told");
    assert!(
        told.reason.contains("engine") && told.again > told.at,
        "{told:?}"
    );
    // Twice in a row, not as often as it can fail.
    let tried = world.engine.calls.lock().unwrap().len();
    assert!(tried <= 3, "tried {tried} times");
    world.engine.broken.store(false, Ordering::Relaxed);
    assert_eq!(world.settles(&pool, 1).await.failure, None);
    assert_eq!(world.slots().len(), 1);
    pool.end().await;
}

/// Waits until so many slots are being made ready.
async fn preparing(pool: &Pool, count: u32) {
    let begun = async {
        while pool
            .standing()
            .kinds
            .iter()
            .map(|one| one.preparing)
            .sum::<u32>()
            != count
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let begun = tokio::time::timeout(PATIENCE, begun).await;
    begun.expect("nothing is being made ready");
}

#[tokio::test]
async fn a_claim_waits_for_what_is_being_made_ready_rather_than_make_another() {
    let world = World::new();
    let pool = world.pool(settings(1, 20));
    let mine = want("eng-backend", 1);
    let hold = world.engine.starting.lock().await;
    pool.foresee(vec![mine.clone()]);
    preparing(&pool, 1).await;
    let occupant = occupant(&mine);
    let mut claim = Box::pin(pool.claim(&occupant, &Contents::Empty));
    assert!((&mut claim).now_or_never().is_none());
    // It is one claim's alone: who comes next makes its own.
    let next = pool.claim(&occupant, &Contents::Empty).now_or_never();
    let (none, second) = next.expect("there is nothing to wait for");
    assert!(none.is_none(), "a slot was promised twice");
    // Nobody needs more, and what is promised is not ended for that.
    pool.foresee(Vec::new());
    drop(hold);
    let (claimed, first) = tokio::time::timeout(PATIENCE, claim).await.unwrap();
    let claimed = claimed.expect("it was made");
    assert!(!claimed.stood);
    let standing = pool.standing();
    assert_eq!((standing.warm, standing.cold, standing.claimed), (0, 2, 2));
    assert_eq!(world.engine.made.load(Ordering::Relaxed), 1);
    claimed.prepared.end().await.unwrap();
    drop((first, second));
    pool.end().await;
}

#[tokio::test]
async fn what_was_promised_to_one_who_is_gone_is_for_the_next() {
    let world = World::new();
    let pool = world.pool(settings(1, 20));
    let mine = want("eng-backend", 1);
    let hold = world.engine.starting.lock().await;
    pool.foresee(vec![mine.clone()]);
    preparing(&pool, 1).await;
    let occupant = occupant(&mine);
    let mut claim = Box::pin(pool.claim(&occupant, &Contents::Empty));
    assert!((&mut claim).now_or_never().is_none());
    drop(claim);
    drop(hold);
    assert_eq!(world.settles(&pool, 1).await.claimed, 0);
    // One that comes to nothing keeps nobody waiting.
    let (claimed, lease) = pool.claim(&occupant, &Contents::Empty).await;
    let hold = world.engine.starting.lock().await;
    claimed
        .expect("one was ready")
        .prepared
        .end()
        .await
        .unwrap();
    preparing(&pool, 1).await;
    let mut claim = Box::pin(pool.claim(&occupant, &Contents::Empty));
    assert!((&mut claim).now_or_never().is_none());
    world.engine.broken.store(true, Ordering::Relaxed);
    drop(hold);
    let (none, second) = tokio::time::timeout(PATIENCE, claim).await.unwrap();
    assert!(none.is_none());
    drop((lease, second));
    pool.end().await;
}
