//! The write meter on real engines: what counts, what waits, and that nothing is lost, stuck or
//! escapes by it.

use std::time::{Duration, Instant};

use loki::event::Usage;

use super::harness::{Engine, Stand, Standing, UNHELD, writing_everywhere};

async fn sandbox(engine: Engine, rates: &str, minimum: &str) -> Standing {
    let policy = writing_everywhere(rates, minimum);
    Stand::on(engine).await.launch("meter", &policy).await
}

async fn at_pace(engine: Engine, per_minute: u32) -> Standing {
    let rates = format!("file_writes_per_minute: {per_minute}, uncounted: [\"target/**\"]");
    let standing = sandbox(engine, &rates, "write_meter: optional").await;
    assert!(standing.sandbox.isolation().write_meter);
    standing
}

/// A meter that only counts.
async fn counting(engine: Engine) -> Standing {
    sandbox(engine, UNHELD, "write_meter: required").await
}

fn usage(standing: &Standing) -> Usage {
    standing.sandbox.usage()
}

#[tokio::test(flavor = "multi_thread")]
async fn live_writes_over_the_pace_wait_and_none_fails() {
    for engine in Engine::ALL {
        let standing = at_pace(engine, 600).await;
        let start = Instant::now();
        standing
            .sh("i=0; while [ $i -lt 620 ]; do : >/tmp/$i; i=$((i+1)); done")
            .await;
        let (took, used) = (start.elapsed(), usage(&standing));
        assert_eq!(used.writes, 620, "{engine:?}");
        // Ten a second come back while the first 600 are written.
        assert!((5..=20).contains(&used.writes_delayed), "{used:?}");
        assert!(used.writes_delayed_ms >= 400, "{used:?}");
        assert!(took >= Duration::from_millis(400), "{engine:?}: {took:?}");
        assert_eq!(standing.sh("set -- /tmp/*; echo $#").await, "620\n");
        standing.sandbox.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_each_kind_of_write_counts_and_no_read_does() {
    for engine in Engine::ALL {
        let standing = counting(engine).await;
        let before = usage(&standing).writes;
        standing
            .python("import os\nfor i in range(500): open('/etc/passwd').read(); os.listdir('/work'); os.stat('/work')")
            .await;
        assert_eq!(usage(&standing).writes, before, "{engine:?}: reads count");
        let writes = "import os\n\
            d = os.open('/work', os.O_RDONLY)\n\
            os.close(os.open('/work/a', os.O_CREAT | os.O_RDONLY))\n\
            os.close(os.open('a', os.O_WRONLY | os.O_APPEND, dir_fd=d))\n\
            os.close(os.open('/work/a', os.O_RDWR | os.O_TRUNC))\n\
            os.rename('/work/a', '/work/b'); os.rename('b', 'c', src_dir_fd=d, dst_dir_fd=d)\n\
            os.link('/work/c', '/work/d'); os.symlink('x', '/work/e'); os.symlink('x', 'f', dir_fd=d)\n\
            os.mkdir('/work/g'); os.mkdir('h', dir_fd=d); os.rmdir('/work/g'); os.rmdir('h', dir_fd=d)\n\
            os.mkfifo('/work/i'); os.truncate('/work/c', 3)\n\
            os.unlink('/work/e'); os.unlink('f', dir_fd=d)";
        standing.python(writes).await;
        assert_eq!(usage(&standing).writes - before, 16, "{engine:?}");
        assert_eq!(usage(&standing).writes_delayed, 0);
        standing.sandbox.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_build_directories_and_devices_do_not_count() {
    for engine in Engine::ALL {
        let standing = at_pace(engine, 1).await;
        let script = "mkdir -p target/deep && cd target && i=0; while [ $i -lt 200 ]; do \
            : >/dev/null; : >deep/a$i; : >/work/target/b$i; i=$((i+1)); done";
        standing.sh(script).await;
        // Only the directory itself, which the glob does not cover.
        let used = usage(&standing);
        assert_eq!((used.writes, used.writes_delayed), (1, 0), "{engine:?}");
        let built = std::fs::read_dir(standing.slot.work().join("target"));
        assert_eq!(built.unwrap().count(), 201);
        standing.sandbox.end().await.unwrap();
    }
}

/// A handler for 100 signals a second, as Go's preemption sends them, must neither restart a write
/// that waits nor make it fail.
#[tokio::test(flavor = "multi_thread")]
async fn live_a_program_with_signals_all_the_time_goes_on_at_the_pace() {
    for engine in Engine::ALL {
        let standing = at_pace(engine, 600).await;
        let script = "import os, signal\n\
            got = 0\n\
            def count(*_):\n global got\n got += 1\n\
            signal.signal(signal.SIGALRM, count)\n\
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\n\
            for i in range(630): os.close(os.open(f'/tmp/{i}', os.O_CREAT | os.O_WRONLY))\n\
            signal.setitimer(signal.ITIMER_REAL, 0)\n\
            print(got, len(os.listdir('/tmp')))";
        let out = standing.python(script).await;
        let (signals, files) = out.trim().split_once(' ').unwrap();
        assert!(signals.parse::<u32>().unwrap() >= 10, "{engine:?}: {out}");
        assert_eq!(files, "630");
        let used = usage(&standing);
        // A call that is interrupted before the host has it is asked again, and that is rare.
        assert!((630..640).contains(&used.writes), "{used:?}");
        assert!(used.writes_delayed >= 10, "{used:?}");
        standing.sandbox.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_a_write_that_waits_can_be_killed_at_once() {
    for engine in Engine::ALL {
        let standing = at_pace(engine, 1).await;
        let script = "import os, signal, time\n\
            open('/tmp/first', 'w')\n\
            child = os.fork()\n\
            if child == 0: open('/tmp/second', 'w'); os._exit(0)\n\
            time.sleep(0.3)\n\
            start = time.monotonic(); os.kill(child, signal.SIGKILL); _, status = os.waitpid(child, 0)\n\
            print(os.WTERMSIG(status), time.monotonic() - start < 0.5, os.path.exists('/tmp/second'))";
        assert_eq!(
            standing.python(script).await,
            "9 True False\n",
            "{engine:?}"
        );
        standing.sandbox.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_a_storm_of_forks_is_counted_to_the_last_write() {
    for engine in Engine::ALL {
        let standing = counting(engine).await;
        let before = usage(&standing).writes;
        let script = "import os\n\
            for p in range(200):\n\
            \x20if os.fork() == 0:\n\
            \x20 for i in range(20): os.close(os.open(f'/tmp/{p}-{i}', os.O_CREAT | os.O_WRONLY))\n\
            \x20 os._exit(0)\n\
            while True:\n\
            \x20try: os.wait()\n\
            \x20except ChildProcessError: break\n\
            print(len(os.listdir('/tmp')))";
        let (one, other) = tokio::join!(standing.python(script), standing.sh("true"));
        assert_eq!((&*one, &*other), ("4000\n", ""), "{engine:?}");
        assert_eq!(usage(&standing).writes - before, 4000, "{engine:?}");
        standing.sandbox.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_a_sandbox_full_of_waiting_writes_ends_as_fast_as_any() {
    for engine in Engine::ALL {
        let standing = at_pace(engine, 1).await;
        let script = "i=0; while [ $i -lt 100 ]; do (: >/tmp/$i) & i=$((i+1)); done; echo on; wait";
        let mut process = standing.start(&["sh", "-c", script]).await;
        let mut on = [0; 3];
        tokio::io::AsyncReadExt::read_exact(&mut process.stdout, &mut on)
            .await
            .unwrap();
        let start = Instant::now();
        while usage(&standing).writes < 100 {
            assert!(start.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let start = Instant::now();
        standing.sandbox.end().await.unwrap();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{engine:?}: {took:?}");
    }
}

/// The control is a sandbox without a meter, where both calls get through to the kernel.
#[tokio::test(flavor = "multi_thread")]
async fn live_an_agent_can_neither_hide_its_flags_nor_answer_its_own_writes() {
    let probe = "import ctypes, os\n\
        c = ctypes.CDLL(None, use_errno=True)\n\
        def call(*a):\n ctypes.set_errno(0); r = c.syscall(*a); return ctypes.get_errno() if r < 0 else 0\n\
        how = (ctypes.c_uint64 * 3)(0, 0, 0)\n\
        opened = call(437, -100, b'/etc/passwd', how, 24)\n\
        class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('f', ctypes.c_void_p)]\n\
        allow = (ctypes.c_uint64 * 1)(0x7fff0000_00000006)\n\
        p = P(1, ctypes.addressof(allow))\n\
        print(opened, call(317, 1, 8, ctypes.byref(p)))";
    for engine in Engine::ALL {
        let standing = at_pace(engine, 600).await;
        let expected = format!("{} {}\n", libc::ENOSYS, libc::EBUSY);
        assert_eq!(standing.python(probe).await, expected, "{engine:?}");
        standing.sandbox.end().await.unwrap();
        let open = sandbox(engine, UNHELD, "write_meter: optional").await;
        assert!(!open.sandbox.isolation().write_meter);
        assert_eq!(open.python(probe).await, "0 0\n", "{engine:?}");
        assert_eq!(usage(&open).counted(), Usage::default());
        open.sandbox.end().await.unwrap();
    }
}
