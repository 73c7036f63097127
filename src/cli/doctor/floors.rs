//! Runtimes with known ways out of a container. Findings, never refusals: distributions mend old
//! versions without changing the number, so only the package's changelog can tell.

use std::collections::BTreeMap;

use super::Checkup;

/// What a program must reach to be free of an escape.
struct Floor {
    program: &'static str,
    /// The first mended version of each line of versions, oldest line first; what is older than all
    /// of them is not mended, what is newer is.
    mended: &'static [[u32; 3]],
    escape: &'static str,
}

const FLOORS: [Floor; 3] = [
    Floor {
        program: "runc",
        mended: &[[1, 0, 0]],
        escape: "CVE-2019-5736: the runtime's own program is overwritten from inside",
    },
    Floor {
        program: "runc",
        mended: &[[1, 1, 12]],
        escape: "CVE-2024-21626: a descriptor of the host leaks into the container",
    },
    Floor {
        program: "runc",
        mended: &[[1, 3, 6], [1, 4, 3], [1, 5, 0]],
        escape: "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2026-41579: masked paths, the console or writes to /proc are redirected",
    },
];

/// Lists what is below a floor, one check for each program.
pub(super) fn below(engine: &str, components: &BTreeMap<String, String>) -> Vec<Checkup> {
    let findings = components.iter().filter_map(|(program, version)| {
        let open: Vec<&str> = FLOORS
            .iter()
            .filter(|floor| floor.program == program && !is_mended(version, floor.mended))
            .map(|floor| floor.escape)
            .collect();
        (!open.is_empty()).then(|| {
            Checkup::note(
                "runtime version",
                format!("{program} {version} of {engine} is older than the release that closed {}", open.join("; ")),
                format!("`apt-get install --only-upgrade {program}`; a distribution may have mended it under the old number: `apt-get changelog {program} | grep CVE`"),
            )
        })
    });
    findings.collect()
}

/// Compares with the line of versions that it belongs to. A number that cannot be read is old.
fn is_mended(version: &str, mended: &[[u32; 3]]) -> bool {
    let Some(found) = numbers(version) else {
        return false;
    };
    let same_line = |floor: &&[u32; 3]| floor[..2] == found.0[..2];
    let floor = mended.iter().find(same_line).or(mended.last());
    floor.is_some_and(|floor| found >= (*floor, true))
}

/// Reads `1.1.5+ds1` and `1.4.0-rc.3`: the numbers, and whether it is a release and no candidate.
fn numbers(version: &str) -> Option<([u32; 3], bool)> {
    let version = version.trim_start_matches('v');
    let (plain, rest) = version
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .map_or((version, ""), |at| version.split_at(at));
    let mut parts = plain.split('.').map(str::parse);
    let mut part = || parts.next().unwrap_or(Ok(0)).ok();
    let found = [part()?, part()?, part()?];
    Some((found, !rest.starts_with("-rc") && !rest.starts_with("~rc")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(program: &str, version: &str) -> String {
        let components = [(program.to_owned(), version.to_owned())].into();
        let found = below("podman", &components);
        assert!(found.len() <= 1);
        found
            .into_iter()
            .map(|check| format!("{} {}", check.found, check.next.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn an_old_runtime_names_every_escape_it_may_have() {
        let found = open("runc", "1.0.0-rc6");
        for cve in ["CVE-2019-5736", "CVE-2024-21626", "CVE-2025-31133"] {
            assert!(found.contains(cve), "{cve}: {found}");
        }
        assert!(found.contains("apt-get changelog runc"), "{found}");
        let found = open("runc", "1.1.5+ds1");
        assert!(!found.contains("2019") && found.contains("CVE-2024-21626"));
    }

    #[test]
    fn each_line_of_versions_has_its_own_floor() {
        for old in [
            "1.1.12",
            "1.1.15",
            "1.2.9",
            "1.3.5",
            "1.4.0-rc.3",
            "1.4.2",
            "1.5.0-rc.1",
            "odd",
            "",
        ] {
            assert!(open("runc", old).contains("CVE-2025-31133"), "{old}");
        }
        for new in [
            "1.3.6",
            "1.3.7-1ubuntu1",
            "1.4.3",
            "1.5.0",
            "1.5.1",
            "1.6.0",
            "2.0.0",
            "v1.5.0",
        ] {
            assert_eq!(open("runc", new), "", "{new}");
        }
        assert!(!open("runc", "1.1.12").contains("21626"));
    }

    #[test]
    fn programs_without_a_floor_say_nothing() {
        assert_eq!(open("containerd", "1.0.0"), "");
    }
}
