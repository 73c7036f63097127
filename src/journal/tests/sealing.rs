//! Seals, and what is done to a journal by somebody who can write every file of the repository but
//! has no key.

use super::{audit::AuditError, *};

/// A sealed journal of a run that ended, and its bytes and those of its seals.
struct Sealed {
    home: Home,
    journal: PathBuf,
    seals: PathBuf,
}

fn sealed(home: Home, events: &[Event]) -> Sealed {
    let mut writer = sealed_writer(&home);
    for event in events {
        writer.append(event).unwrap();
    }
    let journal = writer.path().to_owned();
    drop(writer);
    Sealed {
        seals: journal.with_extension("seals"),
        journal,
        home,
    }
}

fn stop() -> Event {
    Event::StopRequested {
        by: "a person".to_owned(),
        drain: true,
    }
}

/// Sealed at its records 1, 3 and 6.
fn six() -> Sealed {
    let claimed_twice = [claimed(1), claimed(2)];
    let [first, second] = claimed_twice;
    sealed(
        home(),
        &[started(), first, stop(), second, said("x"), ended()],
    )
}

impl Sealed {
    fn audit(&self) -> Result<audit::Audit, AuditError> {
        audited(&self.home, Some(&outside(&self.home)))
    }

    /// What somebody finds who has the repository and the public key, and nothing else.
    fn audit_elsewhere(&self) -> Result<audit::Audit, AuditError> {
        audited(&self.home, None)
    }

    fn lines(&self, path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| format!("{line}\n")).collect()
    }

    fn reopened(&self) -> Result<Writer, JournalError> {
        let writer = Writer::reopen(&self.home.path, &run(), clock())?.writer;
        writer.sealed_by(&run(), sealing(&self.home))
    }

    /// Writes the journal anew from a record on, hashes and all.
    fn rewrite_from(&self, record: usize) {
        let mut lines = self.lines(&self.journal);
        let mut prev = None;
        for line in &mut lines[record - 1..] {
            let mut changed = line.replace("\"ts\":\"2027", "\"ts\":\"2026");
            if let Some(prev) = prev {
                let at = changed.find("\"prev\":\"").unwrap() + 8;
                changed.replace_range(at..at + 64, prev);
            }
            *line = String::from_utf8(rehashed(changed.as_bytes())).unwrap();
            let end = line.len() - 3;
            prev = Some(Box::leak(
                line.get(end - 64..end).unwrap().to_owned().into_boxed_str(),
            ));
        }
        std::fs::write(&self.journal, lines.concat()).unwrap();
    }
}

#[test]
fn a_run_is_sealed_where_it_matters_and_held_against_the_public_key_alone() {
    let six = six();
    let found = six.audit().unwrap();
    assert_eq!((found.records, found.sealed, found.unsealed), (6, 6, 0));
    assert_eq!((found.seals, found.anchored), (3, Some(6)));
    assert_eq!(found.outcome, Some(Outcome::Failed));
    assert_eq!(found.taken_over, []);
    let said: Vec<u64> = six
        .lines(&six.seals)
        .iter()
        .map(|line| line.trim_end().parse::<Seal>().unwrap().facts.seq)
        .collect();
    assert_eq!(said, [1, 3, 6]);
    assert_eq!(six.audit_elsewhere().unwrap().anchored, None);
    insta::assert_snapshot!(six.lines(&six.seals)[0].split("\"key\"").next().unwrap());
}

#[test]
fn what_is_written_is_sealed_by_itself_after_a_while() {
    let home = home();
    let writer = Writer::create(&home.path, &run(), clock()).unwrap();
    let often = Sealing {
        every: Duration::from_millis(20),
        ..sealing(&home)
    };
    let mut writer = writer.sealed_by(&run(), often).unwrap();
    writer.append(&started()).unwrap();
    writer.append(&claimed(1)).unwrap();
    let since = Instant::now();
    while audited(&home, None).unwrap().sealed < 2 {
        assert!(since.elapsed() < Duration::from_secs(60), "no seal came");
        std::thread::sleep(Duration::from_millis(50));
    }
    writer.append(&claimed(2)).unwrap();
    drop(writer);
    assert_eq!(audited(&home, None).unwrap().sealed, 3, "at the end, too");
}

/// S16: whoever may write every file of the repository changes no past record unseen.
#[test]
fn attack_s16_a_journal_written_anew_from_any_record_on_is_found() {
    for (record, first, last) in [(2, 2, 3), (3, 2, 3), (4, 4, 6), (5, 4, 6)] {
        let six = six();
        six.rewrite_from(record);
        verify(&six.journal).expect("the chain alone fits");
        let found = six.audit_elsewhere().unwrap_err();
        assert!(
            matches!(found, AuditError::Rewritten { first: f, last: l, .. } if (f, l) == (first, last)),
            "{record}: {found}"
        );
    }
}

/// S16: nor drops one, the end included.
#[test]
fn attack_s16_a_cut_tail_is_found_with_its_seals_and_without() {
    let six = six();
    let (lines, seals) = (six.lines(&six.journal), six.lines(&six.seals));
    std::fs::write(&six.journal, lines[..4].concat()).unwrap();
    let cut = |found: AuditError| match found {
        AuditError::Cut { first, sealed, .. } => (first, sealed),
        other => panic!("{other}"),
    };
    assert_eq!(cut(six.audit_elsewhere().unwrap_err()), (5, 6));
    // An older copy of both: only the seal outside knows better.
    std::fs::write(&six.seals, seals[..2].concat()).unwrap();
    assert_eq!(six.audit_elsewhere().unwrap().unsealed, 1);
    assert_eq!(cut(six.audit().unwrap_err()), (5, 6));
    let refused = six.reopened().unwrap_err();
    assert!(
        matches!(refused, JournalError::Lost { record: 6, .. }),
        "{refused}"
    );
    std::fs::write(&six.journal, lines.concat()).unwrap();
    let found = six.audit().unwrap_err();
    assert!(
        matches!(
            found,
            AuditError::SealsCut {
                here: 3,
                sealed: 6,
                ..
            }
        ),
        "{found}"
    );
    std::fs::remove_file(&six.journal).unwrap();
    let found = six.audit().unwrap_err();
    assert!(
        matches!(found, AuditError::Gone { sealed: 6, .. }),
        "{found}"
    );
    let missing = audit::missing(&six.home.path, &outside(&six.home)).unwrap();
    assert_eq!(missing, [run()]);
}

/// S16: a journal without seals is none that was sealed.
#[test]
fn attack_s16_a_journal_put_back_to_an_unsealed_format_is_found() {
    let six = six();
    std::fs::remove_file(&six.seals).unwrap();
    let found = six.audit().unwrap_err();
    assert!(
        matches!(
            found,
            AuditError::SealsCut {
                here: 0,
                sealed: 6,
                ..
            }
        ),
        "{found}"
    );
    assert_eq!(six.audit_elsewhere().unwrap().sealed, 0);
    let mut lines = six.lines(&six.journal);
    lines[0] = lines[0].replace("\"format\":4", "\"format\":2");
    std::fs::write(&six.journal, lines.concat()).unwrap();
    six.rewrite_from(1);
    assert_eq!(verify(&six.journal).unwrap().records, 6);
    let found = six.audit().unwrap_err();
    assert!(matches!(found, AuditError::Rewritten { .. }), "{found}");
}

/// S16: no seal but the run's own, by the right key, counts.
#[test]
fn attack_s16_seals_that_were_changed_pasted_or_signed_by_others_are_named() {
    let six = six();
    let seals = six.lines(&six.seals);
    let other: RunId = "20261121-073301-0000".parse().unwrap();
    let facts = |run: &RunId, seq| Facts {
        run: run.clone(),
        seq,
        hash: Digest::of(b"x"),
        ts: clock()(),
        taken_over: None,
        link: None,
    };
    let own = key(&six.home, "settings");
    let stranger = key(&six.home, "stranger");
    let fault = |lines: &[String]| {
        std::fs::write(&six.seals, lines.concat()).unwrap();
        match six.audit_elsewhere().unwrap_err() {
            AuditError::Journal(JournalError::Seal { line, fault, .. }) => (line, fault),
            other => panic!("{other}"),
        }
    };
    let pasted = format!("{}\n", Seal::sign(facts(&other, 4), &own));
    let (line, why) = fault(&[&seals[..2], &[pasted]].concat());
    assert_eq!((line, why), (3, SealFault::OtherRun { found: other }));
    let signed = format!("{}\n", Seal::sign(facts(&run(), 4), &stranger));
    let found = stranger.public();
    assert_eq!(
        fault(&[&seals[..2], &[signed]].concat()),
        (3, SealFault::OtherKey { found })
    );
    let renamed = seals[1].replace(&own.public().to_string(), &found.to_string());
    assert_eq!(fault(&[seals[0].clone(), renamed]), (2, SealFault::Forged));
    let moved = seals[1].replace("\"seq\":3", "\"seq\":4");
    assert_eq!(fault(&[seals[0].clone(), moved]), (2, SealFault::Forged));
    let swapped = fault(&[seals[1].clone(), seals[0].clone()]);
    assert_eq!(swapped, (1, SealFault::Chain));
    let repeated = fault(&[seals[0].clone(), seals[0].clone()]);
    assert_eq!(repeated, (2, SealFault::Order { seq: 1, before: 1 }));
    for form in [
        "\n".to_owned(),
        seals[1].replace("\"format\":2", "\"format\":1"),
        seals[1].replace(",\"seq\"", ", \"seq\""),
        seals[1].replace("\"key\"", "\"more\":1,\"key\""),
        "x".repeat(1 << 20),
    ] {
        assert_eq!(fault(&[seals[0].clone(), form]), (2, SealFault::Form));
    }
}

/// S16: a seal that says what never was is as good as a cut journal.
#[test]
fn attack_s16_a_seal_of_what_is_not_there_is_a_cut_journal() {
    let six = six();
    let seals = six.lines(&six.seals);
    let own = key(&six.home, "settings");
    let huge = Facts {
        run: run(),
        seq: u64::MAX,
        hash: Digest::of(b"x"),
        ts: clock()(),
        taken_over: None,
        link: Some(Link {
            seal: 4,
            before: Digest::of(seals[2].trim_end().as_bytes()),
        }),
    };
    let huge = Seal::sign(huge, &own);
    std::fs::write(&six.seals, format!("{}{huge}\n", seals.concat())).unwrap();
    let found = six.audit_elsewhere().unwrap_err();
    assert!(
        matches!(
            found,
            AuditError::Cut {
                first: 7,
                sealed: u64::MAX,
                ..
            }
        ),
        "{found}"
    );
    assert!(matches!(six.reopened(), Err(JournalError::Lost { .. })));
}

/// S16: a link in the place of the seals is not followed, by reader or writer.
#[test]
fn attack_s16_a_link_in_the_place_of_seals_is_refused() {
    let six = six();
    let elsewhere = six.home.path.with_file_name("elsewhere");
    std::fs::rename(&six.seals, &elsewhere).unwrap();
    symlink(&elsewhere, &six.seals).unwrap();
    let before = std::fs::read(&elsewhere).unwrap();
    assert!(matches!(
        six.audit(),
        Err(AuditError::Journal(JournalError::Io { .. }))
    ));
    assert!(matches!(six.reopened(), Err(JournalError::Io { .. })));
    assert_eq!(std::fs::read(&elsewhere).unwrap(), before);
    std::fs::remove_file(&six.seals).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &six.seals,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(six.audit().is_err(), "a pipe is no file, and nobody waits");
    assert!(six.reopened().is_err());
}

#[test]
fn a_torn_seal_is_cut_off_and_what_a_crash_left_unsealed_is_said() {
    let six = six();
    let seals = six.lines(&six.seals);
    std::fs::remove_dir_all(outside(&six.home)).unwrap();
    for kept in [1, seals[2].len() / 2, seals[2].len() - 1] {
        let torn = [&seals[..2].concat(), seals[2].get(..kept).unwrap()].concat();
        std::fs::write(&six.seals, torn).unwrap();
        let found = six.audit().unwrap();
        assert_eq!((found.sealed, found.unsealed, found.anchored), (3, 3, None));
        assert_eq!((found.torn, found.torn_seal), (None, Some(kept as u64)));
        let mut writer = six.reopened().unwrap();
        writer.append(&claimed(3)).unwrap();
        drop(writer);
        let found = six.audit().unwrap();
        assert_eq!((found.sealed, found.unsealed), (found.records, 0));
        assert_eq!(found.taken_over, [(4, 6)], "{kept}");
        let lines = six.lines(&six.journal);
        std::fs::write(&six.journal, lines[..6].concat()).unwrap();
        std::fs::remove_dir_all(outside(&six.home)).unwrap();
    }
}

#[test]
fn a_seal_that_a_person_kept_finds_what_is_gone_from_this_machine() {
    let six = six();
    let kept = audit::newest(&six.home.path, &run()).unwrap().unwrap();
    let keys = trusted(&six.home);
    let against = |anchor| audit::Against {
        keys: &keys,
        anchors: None,
        anchor,
    };
    let audit = |anchor| audit::audit(&six.home.path, &run(), against(anchor));
    assert_eq!(audit(Some(&kept)).unwrap().anchored, Some(6));
    let (lines, seals) = (six.lines(&six.journal), six.lines(&six.seals));
    std::fs::write(&six.journal, lines[..3].concat()).unwrap();
    std::fs::write(&six.seals, seals[..2].concat()).unwrap();
    assert_eq!(audit(None).unwrap().unsealed, 0, "nothing here shows it");
    let found = audit(Some(&kept)).unwrap_err();
    assert!(
        matches!(
            found,
            AuditError::Cut {
                first: 4,
                sealed: 6,
                ..
            }
        ),
        "{found}"
    );
    let mut forged = kept.clone();
    forged.facts.seq = 3;
    let found = audit(Some(&forged)).unwrap_err();
    let fault = SealFault::Forged;
    assert!(matches!(found, AuditError::Given { fault: f, .. } if f == fault));
}

#[test]
fn a_journal_that_cannot_be_sealed_takes_no_more_records() {
    let home = home();
    let mut writer = sealed_writer(&home);
    writer.append(&started()).unwrap();
    // A directory where the copy outside should go.
    let anchor = outside(&home).join(format!("{}.seal", run()));
    std::fs::remove_file(&anchor).unwrap();
    std::fs::create_dir_all(anchor.join("in the way")).unwrap();
    assert!(matches!(
        writer.append(&stop()),
        Err(JournalError::Io { .. })
    ));
    assert!(matches!(
        writer.append(&claimed(1)),
        Err(JournalError::Closed { .. })
    ));
}

#[test]
fn no_changed_byte_of_a_seal_leaves_one_that_fits() {
    let home = home();
    let facts = Facts {
        run: run(),
        seq: 12,
        hash: Digest::of(b"x"),
        ts: clock()(),
        taken_over: Some(7),
        link: Some(Link {
            seal: 3,
            before: Digest::of(b"y"),
        }),
    };
    let line = Seal::sign(facts, &key(&home, "settings")).to_string();
    let fits = |text: &[u8]| {
        let seal = std::str::from_utf8(text).ok()?.parse::<Seal>().ok()?;
        seal.check().ok()
    };
    assert_eq!(fits(line.as_bytes()), Some(()));
    for at in 0..line.len() {
        let mut changed = line.clone().into_bytes();
        changed[at] ^= 1;
        assert_eq!(fits(&changed), None, "byte {at}");
        let mut longer = line.clone().into_bytes();
        longer.insert(at, b' ');
        assert_eq!(fits(&longer), None, "a space at {at}");
        assert_eq!(fits(&line.as_bytes()[..at]), None, "cut at {at}");
    }
}
