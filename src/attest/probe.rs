//! What a probe is, and how what it said is judged. Pure.

use std::fmt;

use crate::event::Limit;

/// In whose rights a probe runs. All else of the sandboxes is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The role's own.
    Own,
    /// The role's, with an empty list of hosts.
    Empty,
    /// The role's, with `allowed.test` on one port, which leads to a sink on this host's loopback,
    /// and `*.wild.test`.
    Armed,
    /// The role's, but to read and write `listed/**` only, of a repository full of what no sandbox
    /// may see.
    Decoy,
    /// The role's, with small caps, in a sandbox for this probe alone, which is ended once the probe
    /// passes this cap.
    Caged(Limit),
}

/// How it is shown that a probe would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// The same program, in a container that is open.
    Opened {
        /// What puts within reach what the probe is after: lines of Python, see `probes/opening.py`.
        opening: &'static str,
        /// What it must reach on every engine.
        reaches: &'static [&'static str],
        /// What it must reach too where the engine is not rootless: there, root in a container may
        /// not do it, so that nothing is shown.
        rootful: &'static [&'static str],
    },
    /// The same program, in the armed sandbox.
    Granted {
        /// What it must reach.
        reaches: &'static [&'static str],
    },
    /// What is allowed works in the same sandbox: a line that `end` asks for.
    Within,
}

/// Who root is in an opened container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The machine's, of a rootful engine.
    Real,
    /// A user's, of a rootless one.
    Mapped,
}

/// A hostile program and how to tell whether it was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Its row in the list of threats.
    pub id: &'static str,
    /// What must hold.
    pub title: &'static str,
    /// The program, in Python. It prints `REACHED` and what for everything it got at, and comes to
    /// its end in any case.
    pub program: &'static str,
    /// Programs of the image that it runs, besides Python.
    pub tools: &'static [&'static str],
    /// Another program, which runs in the sandbox beside. Its first line becomes `NEIGHBOUR`.
    pub neighbour: Option<&'static str>,
    /// Where it runs.
    pub place: Place,
    /// What it must print to have come to its end.
    pub end: &'static [&'static str],
    /// How often sinks may be reached, and must be.
    pub hits: usize,
    /// How it is shown that it would notice.
    pub control: Control,
}

/// What a probe said, and what its sinks saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Its output.
    pub stdout: String,
    /// Its complaints.
    pub stderr: String,
    /// How often its sinks were reached.
    pub hits: usize,
}

/// Why a sandbox did not hold, or may not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// The probe got at these.
    Reached(Vec<String>),
    /// A sink saw another number of visits than it should.
    Sink {
        /// How many.
        seen: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The probe did not come to its end, so that nothing is known.
    Unfinished(String),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached(what) => {
                write!(
                    f,
                    "reached {}",
                    what.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
                )?;
                match what.len().checked_sub(5) {
                    Some(more @ 1..) => write!(f, " and {more} more"),
                    _ => Ok(()),
                }
            }
            Self::Sink { seen, expected } => {
                write!(
                    f,
                    "a sink on this host was reached {seen} times instead of {expected}"
                )
            }
            Self::Unfinished(last) => {
                write!(
                    f,
                    "the probe did not come to its end, so nothing is known: {last}"
                )
            }
        }
    }
}

impl Probe {
    /// Judges what the probe said in a sandbox.
    ///
    /// # Errors
    /// The way in which the sandbox did not hold; what was reached comes first.
    pub fn judge(&self, output: &Output) -> Result<(), Breach> {
        let reached: Vec<String> = reached(output).map(str::to_owned).collect();
        if !reached.is_empty() {
            return Err(Breach::Reached(reached));
        }
        if let Some(missing) = self.end.iter().find(|end| !has_line(output, end)) {
            let complaint = output.stderr.lines().last();
            let last = complaint.map_or_else(|| format!("`{missing}` is missing"), str::to_owned);
            return Err(Breach::Unfinished(last));
        }
        if output.hits != self.hits {
            return Err(Breach::Sink {
                seen: output.hits,
                expected: self.hits,
            });
        }
        Ok(())
    }

    /// Judges what the probe said in its control, by the very same rule: it must be found guilty, of
    /// everything that the control put within its reach.
    ///
    /// # Errors
    /// What the control did not reach, so that the probe shows nothing.
    pub fn shows(&self, output: &Output, root: Root) -> Result<String, String> {
        let found = match self.judge(output) {
            Err(Breach::Reached(found)) => found,
            Err(other) => return Err(other.to_string()),
            Ok(()) => Vec::new(),
        };
        let wanted = self.control.wanted(root);
        let missed: Vec<&str> = wanted
            .filter(|one| !found.iter().any(|found| found.starts_with(one)))
            .collect();
        if !missed.is_empty() || found.is_empty() {
            let complaint = output.stderr.lines().last().unwrap_or_default();
            return Err(format!(
                "not reached there: {} {complaint}",
                missed.join(", ")
            ));
        }
        Ok(format!("reached {} there", found.len()))
    }
}

impl Control {
    /// Returns what must be reached.
    fn wanted(&self, root: Root) -> impl Iterator<Item = &'static str> {
        let (always, rootful) = match *self {
            Self::Opened {
                reaches, rootful, ..
            } => match root {
                Root::Real => (reaches, rootful),
                Root::Mapped => (reaches, &[][..]),
            },
            Self::Granted { reaches } => (reaches, &[][..]),
            Self::Within => (&[][..], &[][..]),
        };
        always.iter().chain(rootful).copied()
    }
}

fn reached(output: &Output) -> impl Iterator<Item = &str> {
    output
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("REACHED "))
        .map(str::trim)
}

/// An end is a whole line, or its beginning up to a space.
fn has_line(output: &Output, end: &str) -> bool {
    output.stdout.lines().any(|line| {
        line.strip_prefix(end)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Probe = Probe {
        id: "X1",
        title: "nothing",
        program: "",
        tools: &[],
        neighbour: None,
        place: Place::Own,
        end: &["TRIED 2"],
        hits: 0,
        control: Control::Opened {
            opening: "",
            reaches: &["a"],
            rootful: &["b"],
        },
    };

    fn said(stdout: &str) -> Output {
        Output {
            stdout: stdout.to_owned(),
            ..Output::default()
        }
    }

    #[test]
    fn a_probe_that_reached_something_is_a_breach_whatever_else_it_said() {
        let breach = PROBE.judge(&said("REACHED a\nTRIED 2\n")).unwrap_err();
        assert_eq!(breach, Breach::Reached(vec!["a".to_owned()]));
        let many: String = (0..9).map(|n| format!("REACHED {n}\n")).collect();
        let breach = PROBE.judge(&said(&many)).unwrap_err().to_string();
        assert_eq!(breach, "reached 0, 1, 2, 3, 4 and 4 more");
    }

    #[test]
    fn a_probe_that_did_not_end_or_whose_sink_was_reached_is_a_breach() {
        assert_eq!(PROBE.judge(&said("TRIED 2\n")), Ok(()));
        for unfinished in ["", "TRIED 20\n", "NOT TRIED 2\n"] {
            let breach = PROBE.judge(&said(unfinished));
            assert!(matches!(breach, Err(Breach::Unfinished(_))), "{unfinished}");
        }
        let mut seen = said("TRIED 2\n");
        seen.hits = 1;
        let breach = PROBE.judge(&seen);
        assert_eq!(
            breach,
            Err(Breach::Sink {
                seen: 1,
                expected: 0
            })
        );
    }

    #[test]
    fn a_control_that_misses_something_shows_nothing() {
        let both = said("REACHED a x\nREACHED b\nTRIED 2\n");
        assert!(PROBE.shows(&both, Root::Real).is_ok());
        let one = said("REACHED a\nTRIED 2\n");
        assert!(PROBE.shows(&one, Root::Real).unwrap_err().contains('b'));
        assert!(PROBE.shows(&one, Root::Mapped).is_ok());
        assert!(PROBE.shows(&said("TRIED 2\n"), Root::Mapped).is_err());
        assert!(PROBE.shows(&said(""), Root::Mapped).is_err());
    }
}
