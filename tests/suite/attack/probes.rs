//! Every row of `loki sandbox attest`, on every engine. The whole table is made once an engine.

use std::sync::OnceLock;

use loki::attest::{Attestation, Outcome, Signed, catalogue};

use super::{Engine, on_each, world};
use crate::suite::harness::source::{code, files, read};

/// Returns what attest says on an engine.
fn table(engine: Engine) -> &'static Attestation {
    static DOCKER: OnceLock<Attestation> = OnceLock::new();
    static PODMAN: OnceLock<Attestation> = OnceLock::new();
    let once = match engine {
        Engine::Docker => &DOCKER,
        Engine::PodmanRootful => &PODMAN,
    };
    once.get_or_init(|| {
        let run = world(engine).loki(&["sandbox", "attest", "--json"]);
        let said = run.in_any_case();
        let signed: Result<Signed, _> = serde_json::from_str(&said.stdout);
        signed
            .unwrap_or_else(|why| panic!("no attestation: {why}\n{said}"))
            .attestation
    })
}

/// Asserts that a row passed on every engine.
#[track_caller]
fn held(id: &str) {
    on_each(|engine| {
        let rows = &table(engine).rows;
        let row = rows.iter().find(|row| row.id == id);
        let row = row.unwrap_or_else(|| panic!("there is no row `{id}`"));
        assert_eq!(row.outcome, Outcome::Pass, "{id}: {}", row.reason);
        assert!(row.reason.starts_with("held; control: "), "{}", row.reason);
    });
}

#[test]
fn attack_n01_a_program_that_ignores_proxies_has_no_route() {
    held("N1");
}

#[test]
fn attack_n02_proxy_settings_lead_to_no_other_host() {
    held("N2");
}

#[test]
fn attack_n03_plain_http_is_denied_in_every_form() {
    held("N3");
}

#[test]
fn attack_n04_a_relay_gets_no_further_than_its_client() {
    held("N4");
}

#[test]
fn attack_n05_a_name_that_can_be_read_two_ways_reaches_nothing() {
    held("N5");
}

#[test]
fn attack_n06_an_empty_list_allows_nothing() {
    held("N6");
}

#[test]
fn attack_n09_no_name_server_is_asked_for_names_that_carry_data() {
    held("N9");
}

#[test]
fn attack_n11_other_name_servers_are_out_of_reach() {
    held("N11");
}

#[test]
fn attack_n20_no_spelling_of_an_address_leads_past_names() {
    held("N20");
}

#[test]
fn attack_n21_ipv6_leads_nowhere() {
    held("N21");
}

#[test]
fn attack_n22_metadata_services_are_out_of_reach() {
    held("N22");
}

#[test]
fn attack_n23_the_host_and_its_networks_cannot_be_reached() {
    held("N23");
}

#[test]
fn attack_n24_another_sandbox_cannot_be_reached() {
    held("N24");
}

#[test]
fn attack_n30_other_ports_of_an_allowed_host_are_denied() {
    held("N30");
}

#[test]
fn attack_n33_other_socket_families_and_datagrams_lead_nowhere() {
    held("N33");
}

#[test]
fn attack_g07_links_out_of_the_tree_lead_nowhere() {
    held("G7");
}

#[test]
fn attack_g08_no_file_of_the_tree_is_a_file_outside() {
    held("G8");
}

#[test]
fn attack_g13_what_no_commit_holds_or_no_rule_lists_is_absent() {
    held("G13");
}

#[test]
fn attack_g14_other_branches_stashes_and_remotes_are_absent() {
    held("G14");
}

#[test]
fn attack_g15_no_objects_are_borrowed() {
    held("G15");
}

#[test]
fn attack_k01_no_socket_of_an_engine_is_in_a_sandbox() {
    held("K1");
}

#[test]
fn attack_k02_no_program_is_written_over_through_a_process() {
    held("K2");
}

#[test]
fn attack_k03_no_descriptor_of_the_host_is_inherited() {
    held("K3");
}

#[test]
fn attack_k04_files_of_the_kernel_are_hidden() {
    held("K4");
}

#[test]
fn attack_k05_set_id_programs_and_capabilities_give_nothing() {
    held("K5");
}

#[test]
fn attack_k06_namespaces_and_rare_calls_are_refused() {
    held("K6");
}

#[test]
fn attack_k07_processes_are_held() {
    held("K7");
}

#[test]
fn attack_k08_memory_is_held() {
    held("K8");
}

#[test]
fn attack_k09_disk_is_held() {
    held("K9");
}

#[test]
fn attack_s01_nothing_from_outside_is_in_an_environment() {
    held("S1");
}

#[test]
fn attack_s14_no_rule_of_a_sandbox_is_in_it() {
    held("S14");
}

#[test]
fn every_row_of_the_table_is_there_within_two_minutes_and_every_probe_has_its_test() {
    let this = include_str!("probes.rs");
    for probe in catalogue::probes() {
        let asserted = format!("held(\"{}\");", probe.id);
        assert!(this.contains(&asserted), "no test asserts {}", probe.id);
    }
    on_each(|engine| {
        let table = table(engine);
        let rows = table.rows.iter();
        let named: Vec<_> = rows
            .clone()
            .map(|row| (row.id.as_str(), row.outcome))
            .collect();
        let expected = catalogue::probes().count() + catalogue::absent().len();
        assert_eq!(named.len(), expected, "{named:?}");
        assert!(
            named.is_sorted_by_key(|(id, _)| catalogue::order(id)),
            "{named:?}"
        );
        assert!(rows.clone().all(|row| !row.reason.is_empty()));
        assert!(table.milliseconds < 120_000, "{} ms", table.milliseconds);
        assert!(!table.runtime.version.is_empty() && !table.runtime.kernel.is_empty());
        assert!(table.isolation.no_network && table.isolation.landlock_abi > 0);
        assert_eq!(table.image, world(engine).image());
    });
}

/// A reason that sends a reader to a test must lead somewhere.
#[test]
fn every_reason_that_speaks_of_a_test_names_one_that_exists() {
    let sources = files("src", "rs").into_iter().chain(files("tests", "rs"));
    let all: String = sources.map(|path| code(&read(path))).collect();
    let rows = catalogue::absent();
    let speaking = rows.iter().filter(|row| row.reason.contains("test"));
    let mut seen = 0;
    for row in speaking.filter(|row| !row.reason.contains("attestation")) {
        seen += 1;
        let name = row.reason.split('`').nth(1).unwrap_or_default();
        let called = [format!("fn {name}("), format!("fn {name}_")];
        let exists = called.iter().any(|called| all.contains(called));
        assert!(!name.is_empty() && exists, "{}: {}", row.id, row.reason);
    }
    assert!(seen > 10, "only {seen} reasons speak of a test");
}
