//! What the machine gives, whatever engine runs on it: the kernel, its security modules, its limits.

use std::{ffi::OsStr, fs, path::Path};

use rustix::process::{Resource, getrlimit, getuid};

use super::Checkup;

/// Descriptors of the host that one sandbox may hold: egress connections, most of them.
const DESCRIPTORS: u64 = 540;
/// Sandboxes that should fit.
const SANDBOXES: u64 = 16;
/// User ids that an image needs.
const USER_IDS: u64 = 65_536;

/// Looks at the machine.
pub(super) fn checks(path: &str) -> Vec<Checkup> {
    let release = read("/proc/sys/kernel/osrelease");
    let mut all = vec![
        kernel(&release),
        landlock(&read("/sys/kernel/security/lsm")),
        seccomp(
            &read("/proc/sys/kernel/seccomp/actions_avail"),
            version(&release),
        ),
        open_files(getrlimit(Resource::Nofile).maximum),
        inotify(
            &read("/proc/sys/fs/inotify/max_user_instances"),
            &read("/proc/sys/fs/inotify/max_user_watches"),
        ),
    ];
    if !getuid().is_root() {
        all.push(user_namespaces());
        all.extend(ids(path));
    }
    all
}

/// What cannot be read says nothing.
fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel(release: &str) -> Checkup {
    if version(release) < (5, 13) {
        let next = "install a kernel 5.13 or newer: older ones have no Landlock";
        return Checkup::bad("kernel", release, next);
    }
    Checkup::ok("kernel", release)
}

fn landlock(modules: &str) -> Checkup {
    let found = modules.split(',').any(|module| module == "landlock");
    match (found, modules.is_empty()) {
        (true, _) => Checkup::ok("landlock", "among the kernel's security modules"),
        (false, true) => Checkup::ok(
            "landlock",
            "not told here (/sys/kernel/security is not mounted); the sandbox below tells",
        ),
        (false, false) => Checkup::bad(
            "landlock",
            format!("not among `{modules}`"),
            "add `landlock` to `lsm=` on the kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub, then `update-grub`) and restart",
        ),
    }
}

fn seccomp(actions: &str, kernel: (u32, u32)) -> Checkup {
    let notify = actions.split(' ').any(|action| action == "user_notif");
    if !notify {
        return Checkup::note(
            "seccomp",
            "no user notification: writes cannot be counted",
            "use a kernel 5.19 or newer",
        );
    }
    if kernel < (5, 19) {
        return Checkup::note(
            "seccomp",
            "notification without WAIT_KILLABLE_RECV: writes are not counted",
            "use a kernel 5.19 or newer",
        );
    }
    let wake = if kernel < (6, 6) {
        "without the synchronous wake-up (kernel 6.6)"
    } else {
        "with the synchronous wake-up"
    };
    Checkup::ok(
        "seccomp",
        format!("notification with WAIT_KILLABLE_RECV, {wake}"),
    )
}

/// Loki raises its own soft limit to the hard one, so that is what counts.
fn open_files(most: Option<u64>) -> Checkup {
    let Some(most) = most else {
        return Checkup::ok("open files", "no limit");
    };
    let fit = most / DESCRIPTORS;
    let found = format!("{most} descriptors: enough for {fit} busy sandboxes at once");
    if fit < SANDBOXES {
        let next = format!(
            "raise the hard limit: `ulimit -Hn {}` as root, or `* hard nofile 65536` in /etc/security/limits.conf; or run fewer agents with `--parallel`",
            DESCRIPTORS * SANDBOXES
        );
        return Checkup::note("open files", found, next);
    }
    Checkup::ok("open files", found)
}

fn inotify(instances: &str, watches: &str) -> Checkup {
    let found = format!("{instances} instances, {watches} watches for a user");
    let few = |text: &str, least: u64| text.parse().is_ok_and(|found: u64| found < least);
    if few(instances, 128) || few(watches, 8192) {
        let next = "`sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=65536`: file watchers of agents share them";
        return Checkup::note("inotify", found, next);
    }
    Checkup::ok("inotify", found)
}

fn user_namespaces() -> Checkup {
    let switches = [
        (
            "/proc/sys/user/max_user_namespaces",
            "0",
            "user.max_user_namespaces=15000",
        ),
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "kernel.unprivileged_userns_clone=1",
        ),
    ];
    let off = switches.iter().find(|(path, off, _)| read(path) == *off);
    match off {
        Some((path, _, setting)) => Checkup::note(
            "user namespaces",
            format!("switched off by {path}, so rootless Podman cannot run"),
            format!("`sudo sysctl {setting}`"),
        ),
        None => Checkup::ok("user namespaces", "available to this user"),
    }
}

/// Rootless engines map ids that this user was given.
fn ids(path: &str) -> Vec<Checkup> {
    let uid = getuid().as_raw();
    let name = name_of(&read("/etc/passwd"), uid);
    let name = name.as_deref().unwrap_or("?");
    let mut all: Vec<Checkup> = [("subuid", "/etc/subuid"), ("subgid", "/etc/subgid")]
        .into_iter()
        .map(|(what, file)| given(what, count(&read(file), name, uid), name))
        .collect();
    let there = |program: &&str| {
        let folders = std::env::split_paths(OsStr::new(path));
        folders
            .chain([Path::new("/usr/bin").to_owned()])
            .any(|folder| folder.join(program).exists())
    };
    if let Some(program) = ["newuidmap", "newgidmap"].iter().find(|one| !there(one)) {
        all.push(Checkup::note(
            "newuidmap",
            format!("`{program}` is not installed, so rootless Podman cannot map ids"),
            "`sudo apt-get install uidmap`",
        ));
    }
    all
}

fn given(what: &'static str, count: u64, name: &str) -> Checkup {
    if count >= USER_IDS {
        return Checkup::ok(what, format!("{count} ids for `{name}`"));
    }
    Checkup::note(
        what,
        format!("{count} ids for `{name}`, rootless Podman needs {USER_IDS}"),
        format!(
            "`sudo usermod --add-subuids 200000-265535 --add-subgids 200000-265535 {name}` (ranges that /etc/{what} gives to nobody else), then `podman system migrate`"
        ),
    )
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// Sums what lines `NAME:FIRST:COUNT` give to a user by name or number.
fn count(table: &str, name: &str, uid: u32) -> u64 {
    let uid = uid.to_string();
    let ours = table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let count: u64 = fields.nth(1)?.trim().parse().ok()?;
        (owner == name || owner == uid).then_some(count)
    });
    ours.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(check: Checkup) -> String {
        check.next.unwrap_or_default()
    }

    #[test]
    fn an_old_kernel_and_a_missing_module_are_faults_with_a_way_out() {
        assert!(!kernel("5.10.0-30-amd64").ok && kernel("5.13.1").ok && kernel("6.18.44").ok);
        assert!(landlock("capability,landlock,yama").ok && landlock("").ok);
        let without = landlock("capability,yama");
        assert!(!without.ok && next(without).contains("lsm="));
    }

    #[test]
    fn what_only_the_write_meter_needs_is_a_note() {
        for (actions, kernel, noted) in [
            ("kill_process user_notif allow", (6, 18), false),
            ("kill_process user_notif allow", (6, 1), false),
            ("kill_process user_notif allow", (5, 15), true),
            ("kill_process allow", (6, 18), true),
        ] {
            let check = seccomp(actions, kernel);
            assert!(check.ok);
            assert_eq!(check.next.is_some(), noted, "{actions} {kernel:?}");
        }
    }

    #[test]
    fn few_descriptors_and_watches_are_noted_with_the_command() {
        assert!(next(open_files(Some(1024))).contains("ulimit -Hn 8640"));
        assert_eq!(next(open_files(Some(20_000))), "");
        assert_eq!(next(open_files(None)), "");
        assert!(next(inotify("64", "65536")).contains("sysctl"));
        assert!(next(inotify("128", "100")).contains("sysctl"));
        assert_eq!(next(inotify("128", "65536")), "");
        assert_eq!(next(inotify("", "")), "");
    }

    #[test]
    fn ids_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:7:7::/home/ann:/bin/sh\n";
        assert_eq!(name_of(passwd, 7).as_deref(), Some("ann"));
        assert_eq!(name_of(passwd, 8), None);
        let table = "ann:100000:60000\n7:200000:5536\nbob:300000:65536\nodd\n";
        assert_eq!(count(table, "ann", 7), 65_536);
        assert!(next(given("subuid", 0, "ann")).contains("usermod --add-subuids"));
        assert_eq!(next(given("subuid", 65_536, "ann")), "");
    }
}
